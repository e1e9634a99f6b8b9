"""HTTP as a fault needs it: a request may be begun and left under way, and no answer is an answer too."""

from __future__ import annotations

import contextlib
import http.client
import json
import select
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from headwater.faults.world import NDJSON, Line, body_of

JSON = "application/json"
OK = 200


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Attributes:
        status: 0 where there was no answer.
        content: Its JSON, or its text.
        headers: By name in lower case.
    """

    status: int
    content: Any = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_shed(self) -> bool:
        """Whether it says "later", and when."""
        return self.status in {429, 503} and self.headers.get("retry-after", "").isdigit()

    def __str__(self) -> str:
        return f"{self.status} {str(self.content)[:300]}"


class Caller:
    """One connection to a gateway on this machine; one request at a time."""

    def __init__(self, port: int, timeout_s: float) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)

    def begin(self, method: str, path: str, body: bytes | None = None, kind: str = JSON) -> None:
        """Send a request and do not wait for its answer."""
        headers = {"content-type": kind} if body is not None else {}
        with contextlib.suppress(OSError):  # `finish` will tell
            self._connection.request(method, path, body, headers)

    def is_answered(self, timeout_s: float) -> bool:
        """Whether an answer, or the end of the connection, comes within a time."""
        sock = self._connection.sock
        return sock is None or bool(select.select([sock], [], [], timeout_s)[0])

    def finish(self) -> Answer:
        """The answer to what was begun; status 0 where the connection broke or was silent for too long."""
        try:
            response = self._connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            return Answer(0, f"{type(error).__name__}: {error}")
        headers = {name.lower(): value for name, value in response.getheaders()}
        try:
            return Answer(response.status, json.loads(content), headers)
        except ValueError:
            return Answer(response.status, content.decode(errors="replace"), headers)

    def call(self, method: str, path: str, body: bytes | None = None, kind: str = JSON) -> Answer:
        """Send a request and wait for its answer."""
        self.begin(method, path, body, kind)
        return self.finish()

    def ask(self, model: str, rows: Any) -> Answer:
        """Ask a model, and leave no event."""
        return self.call("POST", f"/predict/{model}?record=false", json.dumps(rows).encode())

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Producer:
    """Sends lines over several connections, and keeps account of what became of them.

    Attributes:
        sent: Lines in the order in which they were first sent.
        unsure: Lines that were sent and not acknowledged.
    """

    def __init__(self, port: int, *, n_connections: int = 4, timeout_s: float = 20.0) -> None:
        self._callers = [Caller(port, timeout_s) for _ in range(n_connections)]
        self._flying: list[tuple[Caller, Sequence[Line]]] = []
        self.sent: list[Line] = []
        self.unsure: list[Line] = []

    def begin(self, lines: Sequence[Line]) -> None:
        """Spread lines over the connections, in order, and do not wait."""
        self.sent += lines
        self._begin(lines)

    def _begin(self, lines: Sequence[Line]) -> None:
        size = max(1, -(-len(lines) // len(self._callers)))
        for caller, at in zip(self._callers, range(0, len(lines), size), strict=False):
            part = lines[at : at + size]
            caller.begin("POST", "/events", body_of(list(part)), NDJSON)
            self._flying.append((caller, part))

    def finish(self) -> list[Answer]:
        """Wait for the answers to what was begun."""
        answers = []
        for caller, part in self._flying:
            answer = caller.finish()
            answers.append(answer)
            if answer.status != OK:
                self.unsure += part
        self._flying.clear()
        return answers

    def send(self, lines: Sequence[Line]) -> list[Answer]:
        """Send lines and wait."""
        self.begin(lines)
        return self.finish()

    def resend(self, limit: int | None = None) -> list[str]:
        """Send what is unsure once more, or the first `limit` of it; in words, what is refused though nothing is wrong now."""
        lines, self.unsure = self.unsure[:limit], [] if limit is None else self.unsure[limit:]
        if not lines:
            return []
        self._begin(lines)
        return [f"events that are sent again are refused: {answer}" for answer in self.finish() if answer.status != OK]

    def close(self) -> None:
        """Hang up; what is sent next opens new connections."""
        for caller in self._callers:
            caller.close()
