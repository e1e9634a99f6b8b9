"""One way of logging for our own code and for the libraries under it: structlog, to stderr.

stdout stays free for what a command prints. Tracebacks show code lines but never local variables: those hold what
clients sent.
"""

from __future__ import annotations

import logging
import sys
from typing import Literal, TextIO

import structlog
from structlog.typing import Processor

Format = Literal["json", "console"]

_QUIET = ("uvicorn.access", "asyncio")  # the gateway counts requests itself


def configure(form: Format | None = None, *, level: int | str = logging.INFO, stream: TextIO | None = None) -> None:
    """Set up logging for this process; calling it again replaces the earlier setup.

    Args:
        form: "json" (one object a line) or "console"; None means console on a terminal, else JSON.
        level: The lowest level that is shown.
        stream: Where to; None means stderr.
    """
    out = sys.stderr if stream is None else stream
    console = form == "console" or (form is None and out.isatty())
    shared = _shared()
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
