"""Cuts bodies into pieces that decode in a few milliseconds, and pieces into the texts of single events.

A piece is small enough that one huge request does not hold up the others, and large enough that a usual request is one
piece, hence one commit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec
import numpy as np

PIECE_BYTES = 512 << 10
PIECE_EVENTS = 32_768  # a batch numbers its sources with 16 bits

_LINE_END = 10
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.|\\\Z)*+(?:"|\Z)|[\[\]{},]', re.DOTALL)
_raws = msgspec.json.Decoder(list[msgspec.Raw])


def lines(text: bytes) -> list[bytes]:
    """The lines that hold something."""
    return [line for line in text.split(b"\n") if line.strip(b" \t\r")]


def count_lines(text: bytes | memoryview) -> int:
    """How many line ends there are; ten times as fast as `bytes.count` where lines are short."""
    return int(np.count_nonzero(np.frombuffer(text, np.uint8) == _LINE_END))


def cut_lines(body: bytes) -> Iterator[bytes]:
    """Pieces of whole lines, in order."""
    start = 0
    while start < len(body):
        stop = _line_end(body, start, PIECE_BYTES)
        if count_lines(memoryview(body)[start:stop]) >= PIECE_EVENTS:
            stop = _line_end(body, start, PIECE_EVENTS)  # a line has at least two bytes, or is empty
        yield body[start:stop]
        start = stop


def _line_end(body: bytes, start: int, size: int) -> int:
    """The end of the last line that ends within `size` bytes; of the first one where none does."""
    if len(body) - start <= size:
        return len(body)
    stop = body.rfind(b"\n", start, start + size)
    stop = stop if stop >= 0 else body.find(b"\n", start + size)
    return stop + 1 if stop >= 0 else len(body)


def items(array: bytes) -> list[bytes]:
    """The texts of a JSON array's members; what follows the last whole one is a text of its own."""
    try:
        return [bytes(raw) for raw in _raws.decode(array)]
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return split_array(array)


def split_array(array: bytes) -> list[bytes]:
    """`items` for arrays that are malformed somewhere; never recurses, linear in the length."""
    found, depth, start = [], 0, 0
    for token in _TOKEN.finditer(array):
        first = array[token.start()]
        if first in b"[{":
            depth += 1
            start = token.end() if depth == 1 else start
        elif first in b"]}":
            depth -= 1
        if depth == 0 or (depth == 1 and first == ord(",")):
            found.append(array[start : token.start()].strip())
            start = token.end()
        if depth == 0:
            break
    if found and depth == 0 and not found[-1]:
        found.pop()  # an empty array, or a comma before the end
    rest = array[start:].strip()
    return [*found, rest] if rest else found


def groups(texts: list[bytes]) -> Iterator[list[bytes]]:
    """Events in order, in runs of about a piece each."""
    run: list[bytes] = []
    size = 0
    for text in texts:
        if run and (size + len(text) > PIECE_BYTES or len(run) == PIECE_EVENTS):
            yield run
            run, size = [], 0
        run.append(text)
        size += len(text)
    if run:
        yield run
