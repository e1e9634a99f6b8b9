"""What the learner shows to others: weights, entities' memories and waiting questions, all at one place in the log.

One LMDB environment, written by the learner a few hundred times a second and read by any process. A read transaction
sees one published state whole, so that an answer can never mix two, and a killed learner leaves the last one standing.
It is not durable and need not be: the durable state is the checkpoint, and a restarted learner publishes again.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Sequence
from contextlib import AbstractContextManager
from itertools import takewhile
from pathlib import Path
from typing import Any, Protocol, Self

import lmdb
import msgspec
import numpy as np

from headwater.core.batch import Floats
from headwater.core.errors import Retryable
from headwater.core.hashing import Hashes
from headwater.log.environment import begun

_META = b"m"
_MAP_BYTES = 1 << 36  # address space, not disk


class ViewMeta(msgspec.Struct):
    """What the view says of itself.

    Attributes:
        seq: Everything before this place in the log has had its effect on what is published.
        time_ms: The newest event time.
        published_us: When, by the learner's clock.
        app: Fingerprint of the app.
        status: Metrics and counts, for people.
    """

    seq: int = 0
    time_ms: int = 0
    published_us: int = 0
    app: str = ""
    status: dict[str, Any] = {}


_encode, _decode = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(ViewMeta).decode
_STATUS = b"s"


_name = struct.Struct(">cHQ").pack
HASHED_ROW = b"h"


def entity_key(table: int, key: int) -> bytes:
    """Where an entity's row is."""
    return _name(b"e", table, key)


def question_key(model: int, key: int) -> bytes:
    """Where a waiting question is."""
    return _name(b"q", model, key)


def hashed_row_key(model: int, row: int) -> bytes:
    """Where a row of hashed weights is: one for each class, or for each member of a fast layer."""
    return _name(HASHED_ROW, model, row)


def weights_key(line: str) -> bytes:
    return b"w" + line.encode()


def trees_key(line: str) -> bytes:
    """Where the trees of a fast layer are: they change with a refit only."""
    return b"t" + line.encode()


def guard_key(line: str) -> bytes:
    """Where a line's guard is: what "no change" says, then the guard's state."""
    return b"g" + line.encode()


def seen_key(line: str) -> bytes:
    """Where the categories are that a line's guard has seen."""
    return b"k" + line.encode()


def outcomes_key(line: str) -> bytes:
    """Where the outcomes that "no change" is made of are: float64[3, 2]."""
    return b"n" + line.encode()


def _open(path: Path, *, readonly: bool) -> lmdb.Environment:
    path.mkdir(parents=True, exist_ok=True)
    # sync=False: a crash of the machine may lose or garble the view; it is then made anew (see Checkpoints).
    return lmdb.open(
        str(path), map_size=_MAP_BYTES, subdir=True, readonly=readonly, lock=True, sync=False, metasync=False,
        max_readers=512, readahead=True, meminit=False,
    )  # fmt: skip


class ViewWriter:
    """The learner's side."""

    def __init__(self, path: Path) -> None:
        self._env, self._path = _open(path, readonly=False), path

    def seq(self) -> int:
        """How far the published state has got; 0 if nothing is published."""
        with begun(self._env, self._path) as txn:
            found = txn.get(_META)
        return _decode(found).seq if found else 0

    def questions(self) -> list[bytes]:
        """Keys of all waiting questions that are shown."""
        with begun(self._env, self._path) as txn, txn.cursor() as cursor:
            found = cursor.set_range(b"q")
            keys: list[bytes] = (
                list(takewhile(lambda key: key.startswith(b"q"), cursor.iternext(values=False))) if found else []
            )
        return keys

    def clear(self) -> None:
        """Forget everything, row by row: dropping LMDB's main database leaves pages that later commits trip over."""
        with begun(self._env, self._path, write=True) as txn, txn.cursor() as cursor:
            found = cursor.first()
            while found:
                found = cursor.delete()

    def publish(
        self, meta: ViewMeta, puts: Sequence[tuple[bytes, Any]], deletes: Sequence[bytes] = (), status: bytes | None = None
    ) -> None:
        """Make a new state visible at once.

        Raises:
            DiskFull: The old state stands.
        """
        with begun(self._env, self._path, write=True) as txn, txn.cursor() as cursor:
            for key in deletes:
                txn.delete(key)
            cursor.putmulti(puts)
            if status is not None:
                txn.put(_STATUS, status)
            txn.put(_META, _encode(meta))

    def close(self) -> None:
        self._env.close()


class Rows(Protocol):
    """What a view reads from: a transaction, or a dictionary."""

    def get(self, key: bytes, /) -> Any:
        """The bytes under a key, or None."""


class Reader(Protocol):
    """Whoever can show the newest published state."""

    def open(self) -> AbstractContextManager[View]:
        """Enter the state; everything read inside is of one place in the log."""


class Writer(Protocol):
    """Whoever makes states visible; see `ViewWriter`."""

    def seq(self) -> int: ...
    def questions(self) -> list[bytes]: ...
    def clear(self) -> None: ...
    def publish(
        self, meta: ViewMeta, puts: Sequence[tuple[bytes, Any]], deletes: Sequence[bytes] = (), status: bytes | None = None
    ) -> None: ...


class View:
    """One published state; valid inside `Reader.open`."""

    __slots__ = ("_meta", "_txn")

    def __init__(self, txn: Rows, meta: ViewMeta | Any) -> None:
        self._txn, self._meta = txn, meta

    @property
    def meta(self) -> ViewMeta:
        """What the state says of itself; decoded when it is first asked for."""
        if not isinstance(self._meta, ViewMeta):
            self._meta = _decode(self._meta)
        return self._meta

    def row(self, key: bytes) -> Floats | None:
        """A row's floats, as a read-only view; None if there is none."""
        found = self._txn.get(key)
        return None if found is None else _floats(found)

    def rows(self, prefix: int, keys: Hashes, width: int, table: bytes = b"e") -> tuple[Floats, Any]:
        """Rows of several keys; float64[n, width] and bool[n] (False: none, and the row is zero).

        An entity is looked up once, however many rows are about it; questions are nearly all different.
        """
        head = table + prefix.to_bytes(2, "big")
        if keys.size == 1:
            row = self.row(head + int(keys[0]).to_bytes(8, "big"))
            there = np.array([row is not None])
            return (np.zeros((1, width)) if row is None else row.reshape(1, width).copy()), there
        out, found = np.zeros((keys.size, width)), np.zeros(keys.size, np.bool_)
        pairs = self._pairs(_names(head, keys if table == b"q" else np.unique(keys)))
        if pairs:
            known, first = np.unique(_keys([name for name, _ in pairs]), return_index=True)
            rows = np.frombuffer(b"".join([value for _, value in pairs]), np.float64).reshape(-1, width)
            at = np.minimum(np.searchsorted(known, keys), known.size - 1)
            found = known[at] == keys
            out[found] = rows[first[at[found]]]
        return out, found

    def _pairs(self, names: list[bytes]) -> list[tuple[Any, Any]]:
        """(key, value) of each key that is there, in the order of `names`."""
        return [(name, value) for name in names if (value := self._txn.get(name)) is not None]

    def status(self) -> dict[str, Any]:
        found = self._txn.get(_STATUS)
        status: dict[str, Any] = msgspec.json.decode(bytes(found)) if found else {}
        return status


_floats = functools.partial(np.frombuffer, dtype=np.float64)


def _names(head: bytes, keys: Hashes) -> list[bytes]:
    """Each key's name in the view."""
    names = np.empty((keys.size, 11), np.uint8)
    names[:, :3] = np.frombuffer(head, np.uint8)
    names[:, 3:] = keys.astype(">u8").view(np.uint8).reshape(-1, 8)
    listed: list[bytes] = names.view("V11").ravel().tolist()
    return listed


def _keys(names: list[Any]) -> Hashes:
    """The other way round."""
    return np.frombuffer(b"".join(names), np.uint8).reshape(-1, 11)[:, 3:].copy().view(">u8").ravel().astype(np.uint64)


class _Snapshot(View):
    """A view that is a read transaction: leaving it ends the transaction."""

    __slots__ = ()

    _txn: Any

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._txn.abort()

    def _pairs(self, names: list[bytes]) -> list[tuple[Any, Any]]:
        with self._txn.cursor() as cursor:
            pairs: list[tuple[Any, Any]] = cursor.getmulti(names)
        return pairs


class ViewReader:
    """Any other process's side."""

    def __init__(self, path: Path) -> None:
        self._env = _open(path, readonly=False)

    def open(self) -> _Snapshot:
        """The newest published state.

        Raises:
            Retryable: Nothing is published yet.
        """
        txn = self._env.begin(buffers=True)
        meta = txn.get(_META)
        if meta is None:
            txn.abort()
            raise Retryable("nothing is published yet", where="view", next_step="Wait until the learner has started.")
        return _Snapshot(txn, meta)

    def close(self) -> None:
        self._env.close()
