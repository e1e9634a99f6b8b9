"""Refusals that a client can act on: RFC 9457 problem documents that name what, where, expected, got and a next step.

A problem says nothing of the machine: no path, no exception text, no name from the code. An error of ours becomes an
opaque id, under which the log has the traceback.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

import msgspec
import structlog

from headwater.core.errors import Retryable
from headwater.serving.replies import Reply

CONTENT_TYPE = "application/problem+json"
_SHOWN = 120  # characters of a client's own value that are shown back

_encode = msgspec.json.Encoder().encode
_log = structlog.stdlib.get_logger("headwater.serving")


class Problem(Exception):  # noqa: N818 - named as the standard names it
    """A request that is answered with a problem document.

    Args:
        status: HTTP status.
        kind: A word that programs may compare, such as "unknown-field".
        title: The same sentence for every problem of this kind.
        where: The member, parameter, header or path concerned.
        expected: What would have been right.
        got: What came instead, as far as the client sent it.
        next_step: What the client can do.
        headers: Further response headers.
    """

    def __init__(
        self, status: int, kind: str, title: str, *, where: str = "", expected: str = "", got: str = "", next_step: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(title)
        self.status, self.kind, self.title = status, kind, title
        self.members = {"where": where, "expected": expected, "got": shorten(got), "next": next_step}
        self.headers = dict(headers or {})

    def document(self) -> dict[str, Any]:
        """The members of the problem document; empty ones are left out."""
        given = {name: value for name, value in self.members.items() if value}
        said = [f"{self.title}."] + [f"{name.capitalize()}: {value}." for name, value in given.items() if name != "next"]
        detail = " ".join([*said, given["next"]] if "next" in given else said)
        kind = f"urn:headwater:problem:{self.kind}"
        return {"type": kind, "title": self.title, "status": self.status, "detail": detail, **given}

    def reply(self, *, inference: bool = False) -> Reply:
        """The problem as a response; on the routes of the Open Inference Protocol with its `error` member."""
        document = self.document()
        if inference:
            document["error"] = document["detail"]
        return Reply(self.status, _encode(document), CONTENT_TYPE, self.headers)


def shorten(value: str) -> str:
    """A client's value as it may be shown back: one line of bounded length."""
    line = value if value.isprintable() else ascii(value)
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."


def unavailable(error: Retryable, title: str = "Nothing can be answered yet") -> Problem:
    """503 with Retry-After. The error's own text stays in the log, since it may name files."""
    _log.warning("retryable", error=str(error))
    delay = max(1, round(error.delay_s))
    return Problem(503, "unavailable", title, next_step=f"Try again after {delay} s.", headers={"retry-after": str(delay)})


def no_memory(error: Exception) -> Problem:
    """503 with Retry-After: the limit is this process's memory."""
    _log.error("no memory for a request", error=type(error).__name__)
    return Problem(
        503, "no-memory", "There is no memory for this request", next_step="Send less at once, or again after 5 s.",
        headers={"retry-after": "5"},
    )  # fmt: skip


def unknown_path(path: str, next_step: str) -> Problem:
    """404: the table of routes has no such path."""
    return Problem(404, "unknown-path", "There is no such path", where=shorten(path), next_step=next_step)


def wrong_method(path: str, allow: str) -> Problem:
    """405 with Allow."""
    return Problem(
        405, "wrong-method", "This path has no such method", where=shorten(path), expected=allow, headers={"allow": allow}
    )


def unexpected(error: Exception, route: str) -> Problem:
    """500 with an opaque id; the traceback goes to the log under that id and nowhere else."""
    mark = secrets.token_hex(8)
    _log.error("request failed", id=mark, route=route, exc_info=error)
    problem = Problem(
        500, "internal", "The request failed for a reason that is not yours", next_step=f"Tell the operator this id: {mark}."
    )
    problem.members["instance"] = f"urn:headwater:failure:{mark}"
    return problem
