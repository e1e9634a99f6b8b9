"""The door: a request's bytes in, its events on disk, one verdict for each out.

body -> pieces -> windows (typed decode, columns, checks) -> group commit -> tally -> reply
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import structlog

from headwater.core.batch import Batch
from headwater.core.clock import Clock
from headwater.core.errors import DiskFull, HeadwaterError, Overloaded, Retryable, is_out_of_memory, nearest
from headwater.core.schema import Schema
from headwater.ingest import arrow, cloudevents
from headwater.ingest.commit import Done, GroupCommit, joined, parts_of
from headwater.ingest.decode import Decoded, Decoder, Window, batch_of, join, never, pieces
from headwater.ingest.formats import Format, format_of
from headwater.ingest.limits import Limits
from headwater.ingest.reply import Refusal, Reply, answer
from headwater.ingest.resent import settle_resent
from headwater.ingest.shapes import Shapes
from headwater.ingest.splitting import count_lines
from headwater.ingest.verdicts import Tally
from headwater.log.protocol import EventLog, Receipt, Verdict

_WINDOWS_IN_FLIGHT = 2  # of one request
_FEW = 256  # events that are put in columns together with those of other requests
_CLOUD = (Format.CLOUD, Format.CLOUD_BATCH, Format.CLOUD_BINARY)

_log = structlog.stdlib.get_logger("headwater.ingest")


class Door:
    """Takes events for one log.

    Args:
        log: Where accepted events and dead letters go.
        schemas: The declared streams by name.
        clock: Stamps arrivals.
        limits: Bounds; beyond them the door says "later".
        on_append: Rings the learner's bell after each commit.
    """

    def __init__(
        self, log: EventLog, schemas: Mapping[str, Schema], *, clock: Clock, limits: Limits, on_append: Callable[[], None]
    ) -> None:
        self._log, self._clock, self._limits = log, clock, limits
        self._shapes = Shapes(schemas)
        self._decoder = Decoder(self._shapes, limits)
        self._commit = GroupCommit(self._shapes, log, limits, on_append)
        self._bytes_inside = 0

    async def submit(self, body: bytes, content_type: str, headers: Mapping[str, str], stream: str | None) -> Reply:
        """Store a request's events.

        Args:
            body: As sent.
            content_type: The header's value.
            headers: All headers of the request.
            stream: The stream that was posted to; None where each event names its own.

        Returns:
            200 once every event is on disk, known already, or on disk as a dead letter; else a problem. Never raises
            for what a producer or a disk did.
        """
        self._bytes_inside += len(body)
        try:
            return await self._submit(body, content_type, {k.lower(): v for k, v in headers.items()}, stream)
        except Refusal as refusal:
            return refusal.reply()
        except Overloaded as error:
            return Refusal(429, "overloaded", "Too much is waiting", str(error), retry_after_s=error.delay_s).reply()
        except HeadwaterError as error:
            return _unavailable(error).reply()
        except Exception as error:  # noqa: BLE001 - the answer must not show what broke; the log does
            return _internal(error).reply()
        finally:
            self._bytes_inside -= len(body)

    async def append(self, batch: Batch) -> Receipt:
        """Store rows that are typed already, together with whatever else is being committed.

        Raises:
            Overloaded: Too much is waiting; nothing was stored.
            DiskFull, CorruptData: Nothing was stored (of more than 65,536 rows: perhaps the first of them).
        """
        self._commit.check_room(batch.n)
        done = await asyncio.gather(*(self._commit.enqueue(Window(part, {}, never)) for part in parts_of(batch)))
        return joined([receipt for _, receipt in done])

    async def close(self) -> None:
        """Commit what waits, then refuse."""
        await self._commit.close()

    async def _submit(self, body: bytes, content_type: str, headers: Mapping[str, str], stream: str | None) -> Reply:
        form = format_of(content_type, headers)
        self._admit(body, stream)
        arrival_us = self._clock.now_us()
        tally = Tally(self._shapes, self._limits.max_problems)
        await self._store(self._windows(form, body, headers, stream, arrival_us), tally, arrival_us)
        each = "verdicts" in headers.get("prefer", "")
        content = tally.content(each=each)
        if form is not Format.LINES and tally.is_unreadable:
            raise _unreadable(content)
        return answer(content, {"preference-applied": "verdicts"} if each else None)

    def _admit(self, body: bytes, stream: str | None) -> None:
        limits = self._limits
        if len(body) > limits.max_body_bytes:
            detail = f"expected at most {limits.max_body_bytes} bytes, got {len(body)}. Send fewer events in each request."
            raise Refusal(413, "body_too_large", "The body is too large", detail, max_body_bytes=limits.max_body_bytes)
        if stream is not None and stream not in self._shapes.by_stream:
            detail = f"no stream of this name is declared. {nearest(stream[:100], self._shapes.by_stream)}"
            raise Refusal(404, "unknown_stream", "Unknown stream", detail)
        if self._bytes_inside > max(limits.max_waiting_bytes, len(body)):
            what = f"bodies of {self._bytes_inside} bytes are being stored, at most {limits.max_waiting_bytes} may"
            raise Overloaded(what, delay_s=1.0, next_step="Send again later; a resent event is stored once.")
        if (lag := limits.lag()) > limits.max_lag_events:
            what = (
                f"the learner is {lag} events behind, at most {limits.max_lag_events} are allowed. "
                "Send again later; a resent event is stored once."
            )
            raise Refusal(503, "learner_behind", "The learner does not follow", what, retry_after_s=2.0)

    def _windows(
        self, form: Format, body: bytes, headers: Mapping[str, str], stream: str | None, arrival_us: int
    ) -> Iterator[Window | Decoded | None]:
        if form is Format.ARROW:
            yield from arrow.windows(self._decoder, body, stream, arrival_us)
            return
        body = body.removeprefix(b"\xef\xbb\xbf")
        cloud = form in _CLOUD
        if form is Format.CLOUD_BINARY:
            body = cloudevents.from_binary(body, headers)
        for piece in pieces(body, is_lines=form is Format.LINES):
            if form is Format.LINES and count_lines(piece.text) > _FEW:
                window = self._decoder.scanned(piece, stream, arrival_us)
                if window is not None:
                    yield window
                    continue
            found = self._decoder.decoded(piece, stream, arrival_us, cloud=cloud)
            yield found if found is None or found.n <= _FEW else join(self._shapes, [found])[0]

    async def _store(self, windows: Iterator[Window | Decoded | None], tally: Tally, arrival_us: int) -> None:
        """Decode and commit at the same time, a few windows of the request at once; their order is kept."""
        flying: deque[asyncio.Future[Done]] = deque()
        is_first = True
        try:
            for window in windows:
                if window is None:
                    continue
                if is_first:
                    self._commit.check_room(window.n)
                else:
                    await asyncio.sleep(0)  # one large request must not hold up the others
                is_first = False
                flying.append(self._commit.enqueue(window))
                if len(flying) > _WINDOWS_IN_FLIGHT:
                    await self._settle(flying.popleft(), tally, arrival_us)
            while flying:
                await self._settle(flying.popleft(), tally, arrival_us)
        finally:
            await asyncio.gather(*flying, return_exceptions=True)
        if is_first:
            tally.end = self._log.bounds()[1]

    async def _settle(self, done: asyncio.Future[Done], tally: Tally, arrival_us: int) -> None:
        window, receipt = await done
        if (receipt.verdict == Verdict.CONFLICT).any():
            receipt = await asyncio.to_thread(settle_resent, self._log, window.own, receipt)
        if conflicts := tally.add(window, receipt):
            letters = Window(batch_of(self._shapes, conflicts, arrival_us), {}, never)
            _, second = await self._commit.enqueue(letters)
            tally.end = max(tally.end, second.end)


def _unreadable(content: dict[str, Any]) -> Refusal:
    reason = content["problems"][0]["reason"] if "problems" in content else "no event was found"
    detail = f"{reason}. For one event on each line send {Format.LINES.value}. The body is kept in quarantine."
    return Refusal(400, "unreadable_body", "The body cannot be read", detail, **content)


def _unavailable(error: HeadwaterError) -> Refusal:
    incident = _note(error)
    if isinstance(error, DiskFull):
        what = "the disk is full; nothing of this request was acknowledged. Send again later; a resent event is stored once."
    else:
        what = "events cannot be stored now; nothing of this request was acknowledged. Send again later, or call the operator."
    delay_s = error.delay_s if isinstance(error, Retryable) else 30.0
    return Refusal(503, "cannot_store", "Events cannot be stored", what, retry_after_s=delay_s, incident=incident)


def _internal(error: Exception) -> Refusal:
    if is_out_of_memory(error):
        what = "the gateway has no memory for this request; nothing of it was acknowledged. Send less at once, or again later."
        return Refusal(503, "no_memory", "No memory", what, retry_after_s=5.0, incident=_note(error))
    what = "the request failed for a reason of ours; nothing of it was acknowledged. Tell the operator the incident's number."
    return Refusal(500, "internal", "Internal fault", what, incident=_note(error))


def _note(error: Exception) -> str:
    """Write an error to the log under a number that tells an outsider nothing; returns the number."""
    incident = secrets.token_hex(8)
    _log.error("request failed", incident=incident, kind=type(error).__name__, exc_info=error)
    return incident
