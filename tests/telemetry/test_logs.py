"""Logs are one JSON object a line, from our code and from libraries, and hold no local variables."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from headwater.core.errors import HeadwaterError
from headwater.telemetry.logs import configure


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_json_lines_from_structlog_and_from_logging() -> None:
    out = io.StringIO()
    configure("json", stream=out)
    structlog.stdlib.get_logger("headwater.x").info("hello", n=1)
    logging.getLogger("uvicorn.error").warning("foreign %s", "words")
    logging.getLogger("uvicorn.access").info("quiet")
    first, second = (json.loads(line) for line in out.getvalue().splitlines())
    assert (first["event"], first["n"], first["level"], first["logger"]) == ("hello", 1, "info", "headwater.x")
    assert (second["event"], second["level"]) == ("foreign words", "warning")
    assert first["timestamp"].endswith("Z")


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_traceback_has_no_local_variables(form: str) -> None:
    out = io.StringIO()
    configure(form, stream=out)  # type: ignore[arg-type]

    def fail(body: str) -> None:
        raise ValueError("bad" + body[:0])

    try:
        fail("planted-customer-data")
    except ValueError as error:
        structlog.stdlib.get_logger("x").error("failed", exc_info=error)
        logging.getLogger("y").exception("failed too")
    assert out.getvalue().count("ValueError: bad") == 2
    assert out.getvalue().count("in fail") == 2
    assert 'fail("planted' not in out.getvalue().replace('fail("planted-customer-data")', "")  # the source line only
    assert "body = " not in out.getvalue()


def test_a_terminal_gets_the_console_and_a_pipe_json(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    configure(stream=out)
    structlog.stdlib.get_logger("x").info("hello")
    assert json.loads(out.getvalue())["event"] == "hello"
    monkeypatch.setattr(out, "isatty", lambda: True)
    configure(stream=out)
    structlog.stdlib.get_logger("x").info("coloured")
    assert "\x1b[" in out.getvalue().splitlines()[-1]


def test_with_personal_fields_the_texts_of_other_peoples_exceptions_are_left_out():
    """Of each exception of a chain: those that are ours name fields and types, Python's and libraries' quote values."""
    for form in ("json", "console"):
        out = io.StringIO()
        configure(form, stream=out, is_personal=True)
        try:
            try:
                float("canary-1")
            except ValueError as error:
                raise HeadwaterError("a field is wrong", where="visit.pain") from error
        except HeadwaterError as error:
            structlog.get_logger("x").error("request failed", exc_info=error)
            logging.getLogger("uvicorn.error").exception("Exception in ASGI application")
        text = out.getvalue()
        assert "canary" not in text
        assert text.count("ValueError: (its text is hidden") == 2
        assert text.count("HeadwaterError: visit.pain: a field is wrong") == 2
        assert "test_logs.py" in text
