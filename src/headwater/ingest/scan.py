"""JSON lines straight to columns, by one compiled pass over the bytes, for lines that have nothing unusual.

One pass finds where each member's value lies; then each column is read from its places, one kernel for each kind. (Kernels
here call no helpers with arrays: handing them over would cost more than the reading.) Usual is: flat objects of declared
members, ASCII text without escapes, integers of up to 18 digits, any decimal (Arrow converts those whose digits do not fit
53 bits, or with an exponent), integer times. Whatever else occurs, be it wrong or only rare, `Scanner.batch` says None, and
the typed decoders read the piece from its beginning: they alone decide what is refused and why. What is read here is bit
for bit what they would have read.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

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
_ODD = 255  # decimals of a number that Arrow converts
_LONGEST = 1 << 30  # places have 32 bits
_WORDS = np.frombuffer(b"nulltruefalse", np.uint8)
_ENVELOPE = (FieldSpec("id", Kind.STR), FieldSpec("time", Kind.INT))

_NEWLINE, _SPACE, _QUOTE, _PLUS, _COMMA, _MINUS, _DOT, _COLON = 10, 32, 34, 43, 44, 45, 46, 58
_ZERO, _NINE, _LARGE_E, _BACKSLASH, _SMALL_E, _OPEN, _CLOSE, _DEL = 48, 57, 69, 92, 101, 123, 125, 127


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
def _numbers(data: Bytes, starts: Places, stops: Places, nulls: Bytes, is_float: bool, digits: Ints, n_decimals: Bytes) -> int:  # noqa: C901, PLR0912 - see above
    """Numbers as their digits and how many of those follow the point; how many are `_ODD` instead, or -1 if one is none."""
    n_odd = 0
    for i in range(starts.size):
        if nulls[i]:
            continue
        at, stop = starts[i], stops[i]
        is_negative = at < stop and data[at] == _MINUS
        at += is_negative
        first, dot, total = at, np.int64(-1), np.int64(0)
        while at < stop:  # digits with at most one point
            byte = np.int64(data[at])
            if byte == _DOT and dot < 0:
                dot = at
            elif _ZERO <= byte <= _NINE:
                total = total * 10 + (byte - _ZERO)
            else:
                break
            at += 1
        end = at
        n_whole = (end if dot < 0 else dot) - first
        if n_whole == 0 or dot == end - 1 or (n_whole > 1 and data[first] == _ZERO):
            return -1
        if at < stop:  # an exponent
            if data[at] != _SMALL_E and data[at] != _LARGE_E:
                return -1
            at += 1
            if at < stop and (data[at] == _PLUS or data[at] == _MINUS):
                at += 1
            n_digits = stop - at
            while at < stop and _ZERO <= data[at] <= _NINE:
                at += 1
            if n_digits == 0 or at < stop:
                return -1
        is_below_zero = is_negative and total == 0 and dot >= 0  # -0.0; but -0 is an integer
        if end < stop or end - first > _MAX_DIGITS or (is_float and total > _EXACT) or is_below_zero:
            n_odd += 1
            n_decimals[i] = _ODD
        else:
            digits[i] = -total if is_negative else total
            n_decimals[i] = 0 if dot < 0 else end - 1 - dot
    return n_odd


@kernel
def _floats(digits: Ints, n_decimals: Bytes, nulls: Bytes, out: Floats) -> None:
    for i in range(digits.size):
        if nulls[i]:
            out[i] = np.nan
        elif n_decimals[i] != _ODD:
            out[i] = digits[i] / _POWERS[n_decimals[i]]


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


@kernel
def _copy(data: Bytes, starts: Places, stops: Places, offsets: Offsets, out: Bytes) -> None:
    at = 0
    for i in range(starts.size):
        for j in range(starts[i], stops[i]):
            out[at] = data[j]
            at += 1
        offsets[i + 1] = at


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
    n_odd = _numbers(data, starts, stops, nulls, spec.kind is Kind.FLOAT, digits, n_decimals)
    if spec.kind is Kind.INT:
        return None if n_odd or n_decimals.any() else Column(digits, valid)
    if n_odd < 0:
        return None
    floats = np.empty(n)
    _floats(digits, n_decimals, nulls, floats)
    if n_odd:
        odd = np.flatnonzero(n_decimals == _ODD)
        floats[odd] = _converted(data, starts[odd], stops[odd])
        if not np.isfinite(floats[odd]).all():
            return None
    return Column(floats, valid)


def _converted(data: Bytes, starts: Places, stops: Places) -> Floats:
    """Numbers that are JSON's, rounded once; what is too large is not finite."""
    texts = Text(np.zeros(starts.size + 1, np.int32), np.empty(int((stops - starts).sum()), np.uint8))
    _copy(data, starts, stops, texts.offsets, texts.data)
    floats: Floats = pc.cast(texts.to_arrow(), pa.float64()).to_numpy()
    return floats
