"""JSON lines straight to columns, by one compiled pass over the bytes, for lines that have nothing unusual.

One pass finds where each member's value lies; then each column is read from its places, one kernel for each kind. (Kernels
here call no helpers with arrays: counting references to them would cost more than the reading.) Usual is: flat objects of
declared members, ASCII text without escapes, integers of fewer than 18 digits, decimals whose digits fit 53 bits, integer
times. Whatever else occurs, be it wrong or only rare, `Scanner.batch` says None, and the typed decoders read the piece from
its beginning: they alone decide what is refused and why. What is read here is bit for bit what they would have read.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from headwater.core.batch import Batch, Bytes, Column, Floats, Frame, Ints, Offsets, Text
from headwater.core.compiled import kernel
from headwater.core.schema import FieldSpec, Kind, Schema
from headwater.ingest.columns import check
from headwater.ingest.shapes import DEFAULT_SOURCE
from headwater.ingest.splitting import count_lines

_MAX_DIGITS = 18  # with the point: always fewer than 2**63
_EXACT = 1 << 53  # up to here an int64 is a float64
# Such a number divided by such a power is rounded once, hence correctly (Clinger 1990, "How to Read Floating Point Numbers").
_POWERS = np.array([float(10**k) for k in range(_MAX_DIGITS + 1)])
_LONGEST = 1 << 30  # places have 32 bits
_WORDS = np.frombuffer(b"nulltruefalse", np.uint8)
_ENVELOPE = (FieldSpec("id", Kind.STR), FieldSpec("time", Kind.INT))

_NEWLINE, _SPACE, _QUOTE, _COMMA, _MINUS, _DOT, _COLON = 10, 32, 34, 44, 45, 46, 58
_ZERO, _NINE, _BACKSLASH, _OPEN, _CLOSE, _DEL = 48, 57, 92, 123, 125, 127


Places = npt.NDArray[np.int32]


@kernel
def _find(data: Bytes, names: Bytes, ends: Ints, max_bytes: int, starts: Places, stops: Places) -> int:  # noqa: C901, PLR0911, PLR0912 - see above
    """Where each line's values lie, by [member, line]; how many lines there are, or -1 if anything is unusual."""
    size, n_members, at, row = data.size, ends.size - 1, 0, 0
    while at < size:
        begin, k = at, -1
        if row == starts.shape[1] or data[at] != _OPEN:
            return -1
        while True:
            at += 1
            while at < size and data[at] == _SPACE:
                at += 1
            if at >= size or data[at] != _QUOTE:
                return -1
            at, k, n_tried, n = at + 1, k + 1, 0, 0
            while True:  # producers keep an order: the next member is the likeliest
                if n_tried == n_members:
                    return -1
                k = k if k < n_members else 0
                n, j = ends[k + 1] - ends[k], 0
                if at + n < size and data[at + n] == _QUOTE:
                    while j < n and data[at + j] == names[ends[k] + j]:
                        j += 1
                    if j == n:
                        break
                k, n_tried = k + 1, n_tried + 1
            at += n + 1
            while at < size and data[at] == _SPACE:
                at += 1
            if stops[k, row] or at >= size or data[at] != _COLON:
                return -1
            at += 1
            while at < size and data[at] == _SPACE:
                at += 1
            starts[k, row] = at
            if at < size and data[at] == _QUOTE:
                at += 1
                while at < size and data[at] != _QUOTE:
                    if data[at] == _BACKSLASH or data[at] < _SPACE or data[at] >= _DEL:
                        return -1
                    at += 1
                at += 1
            else:
                while at < size and data[at] != _COMMA and data[at] != _CLOSE and data[at] != _SPACE:
                    at += 1
            stops[k, row] = at
            while at < size and data[at] == _SPACE:
                at += 1
            if at >= size or (data[at] != _COMMA and data[at] != _CLOSE):
                return -1
            if data[at] == _CLOSE:
                break
        at += 1
        if at - begin > max_bytes or (at < size and data[at] != _NEWLINE):
            return -1
        at, row = at + 1, row + 1
    return row


@kernel
def _nulls(data: Bytes, starts: Places, stops: Places, may_null: bool, may_miss: bool, out: Bytes) -> bool:
    """Mark what is null or missing; False where it may not be."""
    for i in range(starts.size):
        at = starts[i]
        if stops[i] == 0:
            if not may_miss:
                return False
            out[i] = 1
        elif data[at] == _WORDS[0]:
            if not may_null or stops[i] - at != 4:  # noqa: PLR2004 - null
                return False
            for j in range(4):
                if data[at + j] != _WORDS[j]:
                    return False
            out[i] = 1
    return True


@kernel
def _bools(data: Bytes, starts: Places, stops: Places, nulls: Bytes, out: Bytes) -> bool:
    for i in range(starts.size):
        if nulls[i]:
            continue
        at, n = starts[i], stops[i] - starts[i]
        if n != 4 and n != 5:  # noqa: PLR1714, PLR2004 - true and false
            return False
        for j in range(n):
            if data[at + j] != _WORDS[4 * (n - 3) + j]:
                return False
        out[i] = n == 4  # noqa: PLR2004
    return True


@kernel
def _numbers(data: Bytes, starts: Places, stops: Places, nulls: Bytes, digits: Ints, n_decimals: Bytes) -> bool:
    """Plain decimals as their digits and how many of those follow the point; False if one is not plain."""
    for i in range(starts.size):
        if nulls[i]:
            continue
        is_negative = stops[i] > starts[i] and data[starts[i]] == _MINUS
        first = starts[i] + (1 if is_negative else 0)
        n = stops[i] - first
        dot: Any = np.int64(-1)
        total: Any = np.int64(0)
        if n < 1 or n > _MAX_DIGITS:
            return False
        for j in range(n):
            byte = np.int64(data[first + j])
            if byte == _DOT and dot < 0:
                dot = j
            elif _ZERO <= byte <= _NINE:
                total = total * 10 + (byte - _ZERO)
            else:
                return False
        n_whole = n if dot < 0 else dot
        if n_whole == 0 or dot == n - 1 or (n_whole > 1 and data[first] == _ZERO):
            return False
        if is_negative and total == 0:  # a zero with a sign
            return False
        digits[i] = -total if is_negative else total
        n_decimals[i] = 0 if dot < 0 else n - 1 - dot
    return True


@kernel
def _floats(digits: Ints, n_decimals: Bytes, nulls: Bytes, out: Floats) -> bool:
    for i in range(digits.size):
        if digits[i] > _EXACT or digits[i] < -_EXACT:
            return False
        out[i] = np.nan if nulls[i] else digits[i] / _POWERS[n_decimals[i]]
    return True


@kernel
def _texts(data: Bytes, starts: Places, stops: Places, nulls: Bytes, offsets: Offsets, out: Bytes) -> bool:
    """Copy strings without their quotes; False if one is none."""
    at = 0
    for i in range(starts.size):
        if not nulls[i]:
            if data[starts[i]] != _QUOTE:
                return False
            for j in range(starts[i] + 1, stops[i] - 1):
                out[at] = data[j]
                at += 1
        offsets[i + 1] = at
    return True


class Scanner:
    """Reads plain JSON lines of one stream."""

    def __init__(self, schema: Schema) -> None:
        self._schema, self._members = schema, (*_ENVELOPE, *schema.fields)
        names = [m.name.encode() for m in self._members]
        self._names = np.frombuffer(b"".join(names), np.uint8)
        self._ends = np.cumsum([0, *map(len, names)], dtype=np.int64)

    def batch(self, text: bytes, arrival_us: int, max_event_bytes: int) -> Batch | None:
        """The lines' events, each accepted; None if anything in them is unusual."""
        n, data = count_lines(text) + (not text.endswith(b"\n")), np.frombuffer(text, np.uint8)
        starts, stops = np.zeros((2, len(self._members), n), np.int32)
        if not text or data.size > _LONGEST or _find(data, self._names, self._ends, max_event_bytes, starts, stops) != n:
            return None
        columns = {}
        for k, member in enumerate(self._members):
            found = _column(member, data, starts[k], stops[k])
            if found is None:
                return None
            columns[member.name] = found
        ids, time = columns.pop("id").values, columns.pop("time").values
        return self._checked(Frame(n, columns), ids, time, arrival_us)

    def _checked(self, frame: Frame, ids: Any, time: Any, arrival_us: int) -> Batch | None:
        n, stream = frame.n, self._schema.stream
        if check(self._schema, frame, time, ids, arrival_us, np.arange(n)):
            return None
        return Batch(
            n, (stream,), np.zeros(n, np.uint8), time, np.full(n, arrival_us, np.int64),
            (DEFAULT_SOURCE,), np.zeros(n, np.uint16), ids, {stream: frame},
        )  # fmt: skip


def _column(spec: FieldSpec, data: Bytes, starts: Places, stops: Places) -> Column | None:  # noqa: PLR0911 - one for each kind
    """One member of all lines; None if a value of it is unusual."""
    n, nulls = starts.size, np.zeros(starts.size, np.uint8)
    if not _nulls(data, starts, stops, spec.nullable, spec.nullable and (spec.required or spec.default is None), nulls):
        return None
    valid = nulls == 0 if nulls.any() else None
    if spec.kind is Kind.STR:
        text = Text(np.zeros(n + 1, np.int32), np.empty(int((stops - starts).sum()), np.uint8))
        if not _texts(data, starts, stops, nulls, text.offsets, text.data):
            return None
        return Column(Text(text.offsets, text.data[: text.offsets[-1]]), valid)
    if spec.kind is Kind.BOOL:
        bools = np.zeros(n, np.uint8)
        return Column(bools, valid) if _bools(data, starts, stops, nulls, bools) else None
    digits, n_decimals = np.zeros(n, np.int64), np.zeros(n, np.uint8)
    if not _numbers(data, starts, stops, nulls, digits, n_decimals):
        return None
    if spec.kind is Kind.INT:
        return None if n_decimals.any() else Column(digits, valid)
    floats = np.empty(n)
    return Column(floats, valid) if _floats(digits, n_decimals, nulls, floats) else None
