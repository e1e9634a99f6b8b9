"""A small blocking client: sends events until the server has each of them on disk, asks models, follows streams.

A resend is always safe: the server knows an event by its source and id and stores it once.
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any, Self
from urllib.parse import quote, urlsplit

import msgspec

from headwater.core.errors import ConfigError, Fatal, HeadwaterError, Overloaded

NDJSON = "application/x-ndjson"
_RETRIED = frozenset({429, 502, 503, 504})
_MAX_WAIT_S = 60.0

_encode = msgspec.json.Encoder().encode
_encode_lines = msgspec.json.Encoder().encode_lines


class Refused(Fatal):
    """The server refused a request for good; `status` and the problem's members say why."""

    def __init__(self, status: int, problem: Mapping[str, Any], where: str) -> None:
        self.status, self.problem = status, dict(problem)
        super().__init__(
            str(problem.get("detail") or problem.get("title") or f"status {status}"), where=where, got=f"HTTP {status}"
        )


@dataclass(slots=True)
class Totals:
    """Verdicts summed over requests.

    Attributes:
        accepted: Stored now.
        duplicate: Stored before.
        quarantined: Kept as dead letters.
        end: The log's end after the last commit; an answer computed at this `seq` or later has seen all that was sent.
        n_retries: Requests that were sent again.
        problems: Descriptions of the first hundred refused events; `row` counts from the first event sent.
        warnings: Descriptions of what was odd, by code.
    """

    accepted: int = 0
    duplicate: int = 0
    quarantined: int = 0
    end: int = 0
    n_retries: int = 0
    problems: list[dict[str, Any]] = field(default_factory=list)
    warnings: dict[str, str] = field(default_factory=dict)

    @property
    def n(self) -> int:
        """Events answered for."""
        return self.accepted + self.duplicate + self.quarantined

    def add(self, answer: Mapping[str, Any]) -> None:
        """Count one answer of the door."""
        first = self.n
        problems = ({**p, "row": first + p["row"]} for p in answer.get("problems", ()))
        self.problems += islice(problems, max(0, 100 - len(self.problems)))
        self.warnings |= {w["code"]: w["text"] for w in answer.get("warnings", ())}
        self.accepted += answer["accepted"]
        self.duplicate += answer["duplicate"]
        self.quarantined += answer["quarantined"]
        self.end = max(self.end, answer["end"])


class Client:
    """Talks to one gateway over one kept connection; not safe for threads: give each its own.

    Args:
        url: Where the gateway listens, such as http://127.0.0.1:8000.
        token: Sent as a bearer token.
        timeout_s: For one request.
        patience_s: How long a request is sent again before giving up.
        sleep: Waits a number of seconds; tests pass their own.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout_s: float = 30.0,
        patience_s: float = 120.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or parts.hostname is None:
            raise ConfigError("not an address", where="url", expected="http://host:port", got=url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.hostname, parts.port, timeout=timeout_s)
        self._base, self._patience_s, self._sleep = parts.path.rstrip("/"), patience_s, sleep
        self._headers = {"authorization": f"Bearer {token}"} if token else {}
        self.n_retries = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def send(self, stream: str | None, rows: Iterable[Mapping[str, Any] | msgspec.Raw] | bytes, *, batch: int = 1000) -> Totals:
        """Send events and wait until each is accepted, known or quarantined.

        Args:
            stream: Their stream; None if each event names its own in `stream`.
            rows: Plain events (or the JSON line of one, as `msgspec.Raw`), read as they are sent; or JSON lines.
            batch: Events in one request.

        Raises:
            Refused: A request as a whole was refused, for instance for an unknown stream.
            HeadwaterError: The server could not be reached, or stayed too busy, for `patience_s`.
        """
        path = "/events" if stream is None else f"/events/{quote(stream, safe='')}"
        totals, retries = Totals(), self.n_retries
        for body in _bodies(rows, batch):
            totals.add(self._request("POST", path, body, {"content-type": NDJSON}))
        totals.n_retries = self.n_retries - retries
        return totals

    def predict(
        self, model: str, rows: Mapping[str, Any] | Sequence[Mapping[str, Any]], *, explain: bool = False, record: bool = True
    ) -> dict[str, Any]:
        """Ask a model about one row, or about several.

        Args:
            model: Its name.
            rows: The fields of what is asked about; the key alone where it was sent or asked before.
            explain: Also each feature's share of the score.
            record: Keep what is new as events. With an `id` in a row (else its key), a resend counts once.

        Raises:
            Refused: An unknown model, a field that does not fit.
            HeadwaterError: As for `send`.
        """
        switches = [*(["explain=true"] if explain else []), *([] if record else ["record=false"])]
        path = f"/predict/{quote(model, safe='')}{'?' if switches else ''}{'&'.join(switches)}"
        return dict(self._request("POST", path, _encode(rows), {"content-type": "application/json"}))

    def follow(self, stream: str, start: int | str = "start", *, limit: int = 1000, wait_s: float = 0.0) -> dict[str, Any]:
        """Events of a stream from a place on: `events`, and in `next` the place to ask for after them.

        Args:
            stream: Its name.
            start: A seq, "start" or "end".
            limit: Most events.
            wait_s: How long to wait for a first event; less than `timeout_s`.

        Raises:
            Refused: There is no such stream, or (410) retention has dropped what is asked for.
            HeadwaterError: As for `send`.
        """
        path = f"/streams/{quote(stream, safe='')}?from={quote(str(start))}&limit={limit}&wait={wait_s:g}"
        return dict(self._request("GET", path, None, {"accept": "application/json"}))

    def get(self, path: str) -> Any:
        """The JSON at a path; text where it is not JSON."""
        return self._request("GET", path, None, {})

    def _request(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Any:
        """Send until there is a verdict, waiting as long as the server asks, or 0.1 s, 0.2 s and so on."""
        waited, pause_s = 0.0, 0.1
        while True:
            status, answer, wait_s = self._attempt(method, path, body, headers)
            if status not in _RETRIED and status != 0:
                break
            wait_s = min(pause_s if wait_s is None else wait_s, _MAX_WAIT_S)
            if waited + wait_s > self._patience_s:
                raise _gave_up(status, answer, path, waited)
            self._sleep(wait_s)
            waited, pause_s = waited + wait_s, pause_s * 2
            self.n_retries += 1
        if status >= 400:  # noqa: PLR2004 - HTTP's border between success and refusal
            raise Refused(status, answer if isinstance(answer, dict) else {}, path)
        return answer

    def _attempt(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> tuple[int, Any, float | None]:
        """One try: (status, or 0 without an answer; content; seconds that the server asks to wait)."""
        try:
            self._connection.request(method, self._base + path, body, {**self._headers, **headers})
            response = self._connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()  # the next request opens a new one
            return 0, {"detail": f"{type(error).__name__}: {error}"}, None
        return response.status, _content(content), _seconds(response.headers.get("retry-after"))


def _bodies(rows: Iterable[Mapping[str, Any] | msgspec.Raw] | bytes, batch: int) -> Iterator[bytes]:
    if isinstance(rows, bytes):
        lines = iter(rows.split(b"\n"))
        kept = (line for line in lines if line.strip())
        for first in kept:
            yield b"\n".join(chain((first,), islice(kept, batch - 1)))
        return
    events = iter(rows)
    for event in events:
        yield _encode_lines([event, *islice(events, batch - 1)])


def _content(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return body.decode(errors="replace")


def _seconds(header: str | None) -> float | None:
    try:
        return max(0.0, float(header)) if header is not None else None
    except ValueError:  # an HTTP date
        return None


def _gave_up(status: int, answer: Any, path: str, waited: float) -> HeadwaterError:
    why = str(answer.get("detail", "")) if isinstance(answer, dict) else ""
    what = f"no success within {waited:.0f} s ({f'HTTP {status}' if status else 'no answer'}: {why})"
    return Overloaded(what, delay_s=_MAX_WAIT_S, where=path, next_step="Look whether the server runs; then send again.")
