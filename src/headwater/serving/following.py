"""`GET /streams` and `GET /streams/{name}?from=seq`: events out, for whoever asks.

The asker keeps the place: each answer says where to read on, and nothing of a follower is kept here between two requests. An
answer is read from the log into memory of a bounded size before its first byte is sent, so that one who never reads it holds
no transaction, only its own answer until the connection is given up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import msgspec
from starlette.types import Receive, Send

from headwater.core.errors import EventsDropped, WrongState, nearest
from headwater.following import formats
from headwater.following.page import Page
from headwater.following.protocol import Followed
from headwater.following.streams import Streams, UnknownStream
from headwater.serving.bodies import Disconnected
from headwater.serving.limits import Limits
from headwater.serving.problems import Problem, shorten
from headwater.serving.replies import Reply
from headwater.serving.requests import Call, Headers
from headwater.serving.rings import Rings

FORMS: dict[str, Callable[[Page], bytes]] = {
    formats.LINES: formats.lines,
    formats.DOCUMENT: formats.document,
    formats.CLOUD_BATCH: formats.cloud_batch,
    formats.ARROW: formats.arrow,
}
"""Content type -> what writes a page; the first one is meant where nothing else is asked for."""

_ANY = frozenset({"", "*/*", "application/*"})
_KNOWN = ("from", "limit", "wait")
_ROWS = 1000
_MAX_SEQ = 2**62

T = TypeVar("T")

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks for.

    Attributes:
        start: A seq, or "start" or "end" of the stream.
        limit: Most rows.
        wait_s: How long to wait for a first row.
    """

    start: int | str = "start"
    limit: int = _ROWS
    wait_s: float = 0.0


class Following:
    """The routes under /streams.

    Args:
        streams: What can be followed.
        bells: The folder where appenders ring; None: nobody does, and who waits is answered at the end of the wait.
        limits: Bounds on answers and on how many may wait.
    """

    def __init__(self, streams: Streams, bells: Path | None, limits: Limits) -> None:
        self._streams, self._limits = streams, limits
        self._rings = Rings(bells)
        self._reading = asyncio.Semaphore(limits.stream_reads)
        self._bytes_out = 0
        self._is_stopping = False

    async def index(self, _: Call) -> Reply:
        """`GET /streams`."""
        return Reply(200, _encode({"streams": await asyncio.to_thread(self._streams.describe)}))

    async def follow(self, call: Call) -> Reply:
        """`GET /streams/{name}`: the answer may come late.

        Raises:
            Problem: 400, 404, 406, 409, 410 or 503.
            Disconnected: The asker has gone.
        """
        path, form = call.path, _form(call.headers)
        asked = parse(call.query, self._limits)
        self._check_room()
        try:
            stream = await asyncio.to_thread(self._streams.open, path.removeprefix("/streams/"))
            page = await self._page(stream, asked, call.receive)
        except UnknownStream as error:
            raise Problem(
                404, "unknown-stream", "There is no such stream", where=shorten(path), next_step=error.next_step
            ) from None
        except EventsDropped as error:
            raise _gone(error, path) from None
        except WrongState as error:
            step = "Was the log replaced? Ask for from=end or from=start."
            raise Problem(409, "ahead-of-stream", "The stream does not go so far", where="from", expected=error.expected,
                          next_step=step) from None  # fmt: skip
        self._check_room()  # once more: many who waited are answered by the same event
        body = await self._read(partial(FORMS[form], page)) if page.n else FORMS[form](page)
        return self._reply(body, form, page)

    def stop_waiting(self) -> None:
        """Answer everybody who waits, now and from now on: the server stops."""
        self._is_stopping = True
        self._rings.wake()

    async def _page(self, stream: Followed, asked: Asked, receive: Receive) -> Page:
        start = asked.start
        if isinstance(start, str):
            first, end = await asyncio.to_thread(stream.bounds)
            start = end if start == "end" else first
        read = partial(stream.read, limit=asked.limit, max_bytes=self._limits.stream_bytes)
        page = await self._read(partial(read, start))
        if page.n or not asked.wait_s:
            return page
        if self._rings.n_listening >= self._limits.waiting:
            raise _too_many("Too many wait for events already")
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            with self._rings.listening():
                return await self._wait(read, page, gone, asked.wait_s)
        finally:
            gone.cancel()

    async def _wait(self, read: Callable[[int], Page], page: Page, gone: asyncio.Future[None], wait_s: float) -> Page:
        """Read on until there is a row or the time is over."""
        now = asyncio.get_running_loop().time
        deadline = now() + wait_s
        while not self._is_stopping:
            rung = self._rings.next()
            page = await self._read(partial(read, page.next))
            left_s = deadline - now()
            if page.n or left_s <= 0:
                break
            if page.next < page.end:
                continue
            ring: asyncio.Future[Any] = asyncio.ensure_future(rung.wait())
            both: set[asyncio.Future[Any]] = {ring, gone}
            done, _ = await asyncio.wait(both, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            ring.cancel()
            if gone in done:
                raise Disconnected
        return page

    async def _read(self, work: Callable[[], T]) -> T:
        """Work that reads or writes a page, in a thread; only a few at a time."""
        async with self._reading:
            return await asyncio.to_thread(work)

    def _check_room(self) -> None:
        if self._bytes_out > self._limits.stream_bytes_out:
            raise _too_many("Too many answers wait to be read by their askers")

    def _reply(self, body: bytes, form: str, page: Page) -> Reply:
        headers = {"headwater-next": str(page.next), "headwater-end": str(page.end), "cache-control": "no-store"}
        return _Counted(200, body, form, headers, self)


class _Counted(Reply):
    """A reply whose bytes are counted until they have left."""

    def __init__(self, status: int, body: bytes, content_type: str, headers: dict[str, str], of: Following) -> None:
        super().__init__(status, body, content_type, headers)
        self._of = of

    async def send(self, send: Send) -> None:
        self._of._bytes_out += len(self.body)  # noqa: SLF001 - of this file
        try:
            await super().send(send)
        finally:
            self._of._bytes_out -= len(self.body)  # noqa: SLF001


def parse(query: bytes, limits: Limits) -> Asked:
    """The query string's `from`, `limit` and `wait`.

    Raises:
        Problem: 400: an unknown name, or a value that is none.
    """
    given: dict[str, str] = {}
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if name not in _KNOWN:
            raise Problem(
                400, "unknown-parameter", "There is no such query parameter", where=name, next_step=nearest(name, _KNOWN)
            )
        given[name] = value
    start = given.get("from", "start")
    return Asked(
        start if start in {"start", "end"} else int(_number("from", start, "a seq, start or end", _MAX_SEQ)),
        int(_number("limit", given.get("limit", str(_ROWS)), f"1 to {limits.rows}", limits.rows, least=1)),
        _number("wait", given.get("wait", "0"), f"0 to {limits.wait_s:g} seconds", limits.wait_s, whole=False),
    )


def _number(name: str, text: str, expected: str, most: float, *, least: float = 0, whole: bool = True) -> float:
    try:
        value = int(text) if whole else float(text)
    except ValueError:
        value = -1
    if not least <= value <= most:
        raise Problem(400, "wrong-parameter", "A query parameter has a wrong value", where=name, expected=expected, got=text)
    return value


def _form(headers: Headers) -> str:
    """The first content type of `Accept` that is written here."""
    asked = [part.partition(";")[0].strip().lower() for part in headers.get(b"accept", b"").decode("latin-1").split(",")]
    for kind in asked:
        if kind in _ANY:
            return formats.LINES
        if kind in FORMS:
            return kind
    raise Problem(
        406, "not-acceptable", "Events are not written in such a form", where="Accept", expected=", ".join(FORMS),
        got=", ".join(asked),
    )  # fmt: skip


def _gone(error: EventsDropped, path: str) -> Problem:
    return Problem(
        410, "events-dropped", "These events have been dropped by retention", where=shorten(path),
        expected=f"from={error.first} or later", got=str(error.seq), next_step=f"Go on with from={error.first}.",
        headers={"headwater-first": str(error.first)},
    )  # fmt: skip


def _too_many(title: str) -> Problem:
    return Problem(503, "too-many-followers", title, next_step="Try again after 5 s.", headers={"retry-after": "5"})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
