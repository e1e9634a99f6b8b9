"""What the gateway sends back: JSON with a status, and RFC 9457 problems that leak nothing internal."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import msgspec

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer. `body` is JSON."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


def answer(content: dict[str, Any], headers: dict[str, str] | None = None) -> Reply:
    return Reply(200, _encode(content), {"content-type": "application/json", **(headers or {})})


class Refusal(Exception):  # noqa: N818 - not a fault of ours: the request as a whole cannot be taken
    """The whole request is refused; carries the problem to answer with.

    Args:
        status: HTTP status.
        code: A stable word for programs, also the last part of the problem's `type`.
        title: The same for people, in a few words.
        detail: What was expected, what came, and the next step.
        retry_after_s: When the same request may succeed.
        more: Further members of the problem.
    """

    def __init__(
        self, status: int, code: str, title: str, detail: str, *, retry_after_s: float | None = None, **more: Any
    ) -> None:
        super().__init__(detail)
        self.status, self.code, self.title, self.detail = status, code, title, detail
        self.retry_after_s, self.more = retry_after_s, more

    def reply(self) -> Reply:
        headers = {"content-type": "application/problem+json"}
        more = dict(self.more)
        if self.retry_after_s is not None:
            headers["retry-after"] = str(max(1, math.ceil(self.retry_after_s)))
            more["retry_after_s"] = self.retry_after_s
        kind = f"urn:headwater:problem:{self.code}"
        body = {"type": kind, "title": self.title, "status": self.status, "detail": self.detail, **more}
        return Reply(self.status, _encode(body), headers)
