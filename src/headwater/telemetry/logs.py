"""One way of logging for our own code and for the libraries under it: structlog, to stderr.

stdout stays free for what a command prints. Tracebacks show code lines but never local variables: those hold what
clients sent. Where events have personal fields, they do not show the texts of other people's exceptions either: Python quotes
values in them.
"""

from __future__ import annotations

import logging
import sys
import traceback
from types import TracebackType
from typing import Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from headwater.core.errors import HeadwaterError

Format = Literal["json", "console"]

_QUIET = ("uvicorn.access", "asyncio")  # the gateway counts requests itself


def configure(
    form: Format | None = None, *, level: int | str = logging.INFO, stream: TextIO | None = None, is_personal: bool = False
) -> None:
    """Set up logging for this process; calling it again replaces the earlier setup.

    Args:
        form: "json" (one object a line) or "console"; None means console on a terminal, else JSON.
        level: The lowest level that is shown.
        stream: Where to; None means stderr.
        is_personal: Events tell something about persons: of an exception that is not ours only the kind is shown.
    """
    out = sys.stderr if stream is None else stream
    console = form == "console" or (form is None and out.isatty())
    shared = [*_shared(), *([_without_texts] if is_personal else [])]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=_render(console=console, colors=out.isatty()))
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def _shared() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]


def _render(*, console: bool, colors: bool) -> list[Processor]:
    drop = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if console:
        plain = structlog.dev.plain_traceback
        return [drop, structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain)]
    return [drop, structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]


def _without_texts(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Write an exception out here, its text left out unless it is one of ours: those name fields and types, never values."""
    info = event.pop("exc_info", None)
    error = sys.exc_info()[1] if info is True else info[1] if isinstance(info, tuple) else info
    if isinstance(error, BaseException):
        event["exception"] = "\n".join(_told(error))
    return event


def _told(error: BaseException | None) -> list[str]:
    lines: list[str] = []
    while error is not None:
        said = str(error) if isinstance(error, HeadwaterError) else "(its text is hidden, since events have personal fields)"
        lines = [*_frames(error.__traceback__), f"{type(error).__name__}: {said}", *lines]
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return lines


def _frames(found: TracebackType | None) -> list[str]:
    return [f'  File "{f.filename}", line {f.lineno}, in {f.name}' for f in traceback.extract_tb(found)]
