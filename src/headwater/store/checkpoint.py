"""The durable state of a fold, and the rows that leave it, in one transaction.

Small arrays are cut into blocks of about 32 KiB, of which a save writes those that changed; of large ones, whose kernels
flag what they change, it appends the changed rows (see `deltas`). With them go the rows of the outbox and the next `seq`,
and it syncs once. A reader of an older save sees it whole until the new one is there: `kill -9` at any instant leaves one or
the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lmdb
import msgspec
import numpy as np

from headwater.core.batch import Ints
from headwater.core.crashpoints import crashpoint
from headwater.core.errors import CorruptData, DiskFull, WrongState
from headwater.log.environment import begun, make_environment
from headwater.store import deltas
from headwater.store.deltas import BLOCK_BYTES, Layers, block_key, rows_in
from headwater.store.sealed import sealed, unsealed

FORMAT = 3  # of the saves that are written; 2 had no checksums
_READABLE = (2, FORMAT)
_MAP_BYTES = 1 << 36
_META, _LAYERS = b"meta", b"layers"

Array = np.ndarray[Any, Any]


class ArrayMeta(msgspec.Struct, array_like=True):
    """Shape of one saved array."""

    dtype: str
    shape: tuple[int, ...]
    rows_per_block: int


class SavedMeta(msgspec.Struct):
    """What a save says of itself."""

    format: int
    app: str
    seq: int
    arrays: dict[str, ArrayMeta]
    extra: dict[str, Any]
    state_hash: str = ""


_encode, _decode = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(SavedMeta).decode
_decode_layers = msgspec.msgpack.Decoder(dict[str, Layers]).decode


@dataclass(frozen=True, slots=True, eq=False)
class Changed:
    """Rows of one array that changed since the save before.

    Attributes:
        array: Its name.
        dtype: Of its elements.
        shape: Of the whole array.
        at: int64[n], ascending places of the rows.
        rows: The rows.
    """

    array: str
    dtype: str
    shape: tuple[int, ...]
    at: Ints
    rows: Array


@dataclass(slots=True)
class Save:
    """One save, ready to be written.

    Attributes:
        meta: Its header.
        blocks: (key, bytes) of changed blocks.
        changed: Changed rows of the arrays that are saved by row.
        outbox: (stream, key, bytes) of rows that leave the fold; a key written twice stays one row.
    """

    meta: SavedMeta
    blocks: list[tuple[bytes, bytes]] = field(default_factory=list)
    changed: list[Changed] = field(default_factory=list)
    outbox: list[tuple[str, bytes, bytes]] = field(default_factory=list)


def rows_per_block(array: Array) -> int:
    """How many rows of an array make a block."""
    return rows_in(BLOCK_BYTES, array.itemsize * int(np.prod(array.shape[1:], dtype=np.int64)))


class Differ:
    """Gathers what changed of arrays: by flags where the kernels set them, else by comparing with a copy.

    What is gathered lies in memory of the differ's own, which the next `add` of that array uses again: faulting in fresh
    pages would cost as much as the copy.
    """

    def __init__(self) -> None:
        self._shadows: dict[str, Array] = {}
        self._buffers: dict[str, Array] = {}

    def add(self, save: Save, name: str, array: Array, changed: Ints | None = None) -> None:
        """Add what changed of an array to a save; the one before must be on disk.

        Args:
            save: The save.
            name: The array's name.
            array: The array; at least one dimension.
            changed: Ascending places of the changed rows, or None to compare.
        """
        if changed is not None:
            rows = self._buffer(name, array, changed.size)
            np.take(array, changed, axis=0, out=rows, mode="clip")  # "raise" would go through one more copy
            save.changed.append(Changed(name, array.dtype.str, array.shape, changed, rows))
            return
        array = np.ascontiguousarray(array)
        per = rows_per_block(array)
        save.meta.arrays[name] = ArrayMeta(array.dtype.str, array.shape, per)
        for block in self._blocks(name, array, per):
            save.blocks.append((block_key(name, block), array[block * per : (block + 1) * per].tobytes()))

    def _buffer(self, name: str, array: Array, n: int) -> Array:
        found = self._buffers.get(name)
        if found is None or not n <= found.shape[0] <= max(4 * n, 1024):  # one save of everything must not hold on to it
            found = self._buffers[name] = np.empty((n + n // 4, *array.shape[1:]), array.dtype)
        return found[:n]

    def _blocks(self, name: str, array: Array, per: int) -> Iterator[int]:
        shadow = self._shadows.get(name)
        self._shadows[name] = array.copy()
        whole = shadow is None or shadow.shape != array.shape
        for block in range(-(-array.shape[0] // per)):
            rows = slice(block * per, (block + 1) * per)
            if whole or shadow is None or array[rows].tobytes() != shadow[rows].tobytes():
                yield block


class Checkpoints:
    """The state environment. One process writes (the learner); others may read the outbox."""

    def __init__(self, path: Path, *, readonly: bool = False) -> None:
        if readonly and not (path / "data.mdb").exists():
            raise WrongState(
                "nothing has been saved here yet", where=str(path), next_step="Check --state, or `headwater run` first."
            )
        try:
            if not readonly:
                make_environment(path)
            self._env = lmdb.open(str(path), map_size=_MAP_BYTES, max_dbs=64, subdir=True, readonly=readonly, max_readers=256)
        except lmdb.Error as error:
            raise _unreadable(path, error) from error
        self._path = path
        self._blocks = self._env.open_db(b"blocks", create=not readonly)
        self._pool = ThreadPoolExecutor(1, "checkpoint") if not readonly else None
        self._pending: Future[None] | None = None
        self._merging: Iterator[None] | None = None
        self._is_closed = False

    def _begin(self, *, write: bool = False) -> AbstractContextManager[Any]:
        return begun(self._env, self._path, write=write)

    def load(self, app: str) -> tuple[SavedMeta, dict[str, Array]] | None:
        """The last save, or None in a fresh directory.

        Raises:
            WrongState: It was made by another app or a newer format.
            CorruptData: A part is missing, has the wrong size, or was altered.
        """
        with self._begin() as txn:
            meta = _meta(txn)
            if meta is None:
                return None
            _check(meta, app)
            return meta, self._arrays(txn, meta)

    def verify(self) -> SavedMeta | None:
        """Read all that was saved, whatever app it is of; its description, or None in a fresh directory.

        Raises:
            WrongState: It is of a newer format.
            CorruptData: See `load`.
        """
        with self._begin() as txn:
            meta = _meta(txn)
            if meta is None:
                return None
            _check(meta, meta.app)
            self._arrays(txn, meta)
            for key, value in txn.cursor().iternext():
                if b"\0" in key:  # a row of the outbox
                    unsealed(key, value, f"state, a row of {key.partition(bytes(1))[0].decode(errors='replace')}")
            return meta

    def _arrays(self, txn: lmdb.Transaction, meta: SavedMeta) -> dict[str, Array]:
        arrays = {name: self._array(txn, name, spec) for name, spec in meta.arrays.items()}
        for name, layers in _layers(txn).items():
            arrays[name] = deltas.load(txn, self._blocks, layers, name)
        return arrays

    def _array(self, txn: lmdb.Transaction, name: str, spec: ArrayMeta) -> Array:
        whole = Layers(spec.dtype, spec.shape, spec.shape[0])
        return deltas.load(txn, self._blocks, whole, name)

    def save(self, save: Save) -> None:
        """Write in the background; waits for the one before. An error of the one before is raised here."""
        self.wait()
        assert self._pool is not None
        self._pending = self._pool.submit(self._write, save)

    @property
    def is_saving(self) -> bool:
        """Whether the last save is still being written; `save` would wait for it."""
        return self._pending is not None and not self._pending.done()

    def wait(self) -> None:
        """Until the last save is on disk."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.result()

    def _write(self, save: Save) -> None:
        with self._begin(write=True) as txn:
            for key, value in save.blocks:
                txn.put(key, sealed(key, value), db=self._blocks)
            layers = _layers(txn)
            for rows in save.changed:
                mine = layers.setdefault(rows.array, Layers(rows.dtype, rows.shape))
                mine.shape = rows.shape
                deltas.append(txn, self._blocks, mine, rows.array, rows.at, rows.rows)
            _put(txn, _LAYERS, _encode(layers))
            crashpoint("checkpoint.blocks_put")
            for stream, key, value in save.outbox:
                _put(txn, stream.encode() + b"\0" + key, value)
            _put(txn, _META, _encode(save.meta))
            crashpoint("checkpoint.put")
        crashpoint("checkpoint.committed")
        if self._merging is None and any(found.should_merge for found in layers.values()):
            self._merging = self._merge(layers)
            self._later()

    def _later(self) -> None:
        """Go on merging after whatever else waits: a save never waits for more than a slice."""
        if self._pool is not None and not self._is_closed:
            self._pool.submit(self._go_on)

    def _go_on(self) -> None:
        assert self._merging is not None
        try:
            next(self._merging)
        except StopIteration:
            self._merging = None
        except DiskFull:
            self._merging = None  # a later save begins again
        else:
            self._later()

    def _merge(self, layers: dict[str, Layers]) -> Iterator[None]:
        """Merge the arrays that are due, one slice and transaction for each `next`."""
        for name, old in deepcopy(layers).items():
            if not old.should_merge:
                continue
            for rows in deltas.slices(old):
                with self._begin(write=True) as txn:
                    deltas.merge(txn, self._blocks, old, name, rows)
                    crashpoint("checkpoint.merging")
                yield
            with self._begin(write=True) as txn:
                now = _layers(txn)
                deltas.merged(txn, self._blocks, now[name], old, name)
                _put(txn, _LAYERS, _encode(now))
                crashpoint("checkpoint.merged")
            yield

    def outbox(self, stream: str, since: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """(key, bytes) of a stream's rows in key order, from the first key >= since.

        Raises:
            CorruptData: One was altered.
        """
        prefix = stream.encode() + b"\0"
        with self._begin() as txn, txn.cursor() as cursor:
            found = cursor.set_range(prefix + since)
            while found and cursor.key().startswith(prefix):
                key = cursor.key()
                yield key[len(prefix) :], bytes(unsealed(key, cursor.value(), f"state, a row of {stream}"))
                found = cursor.next()

    def trim(self, stream: str, keep: int) -> None:
        """Drop a stream's oldest rows beyond `keep`, after the save that is being written."""
        assert self._pool is not None
        self._pool.submit(self._trim, stream, keep)

    def _trim(self, stream: str, keep: int) -> None:
        keys = [k for k, _ in self.outbox(stream)]
        with self._begin(write=True) as txn:
            for key in keys[: max(0, len(keys) - keep)]:
                txn.delete(stream.encode() + b"\0" + key)

    def trim_bytes(self, stream: str, keep: int) -> None:
        """Drop a stream's oldest rows while the others hold at least `keep` bytes, after the save that is being written."""
        assert self._pool is not None
        self._pool.submit(self._trim_bytes, stream, keep)

    def _trim_bytes(self, stream: str, keep: int) -> None:
        sizes = [(key, len(value)) for key, value in self.outbox(stream)]
        spare = sum(size for _, size in sizes) - keep
        with self._begin(write=True) as txn:
            for key, size in sizes:
                if size > spare:
                    return
                txn.delete(stream.encode() + b"\0" + key)
                spare -= size

    def seq(self) -> int:
        """The next place in the log of the last save."""
        with self._begin() as txn:
            meta = _meta(txn)
        return meta.seq if meta else 0

    def extra(self) -> dict[str, Any]:
        """What was saved beside the arrays; empty before the first save."""
        with self._begin() as txn:
            meta = _meta(txn)
        return meta.extra if meta else {}

    def close(self) -> None:
        self._is_closed = True
        self.wait()
        if self._pool is not None:
            self._pool.shutdown()
        self._env.close()


def _put(txn: lmdb.Transaction, key: bytes, value: bytes) -> None:
    txn.put(key, sealed(key, value))


def _meta(txn: lmdb.Transaction) -> SavedMeta | None:
    found = txn.get(_META)
    return None if found is None else _decode(unsealed(_META, found, "state, its header"))


def _layers(txn: lmdb.Transaction) -> dict[str, Layers]:
    found = txn.get(_LAYERS)
    return _decode_layers(unsealed(_LAYERS, found, "state, its layers")) if found else {}


def _unreadable(path: Path, error: lmdb.Error) -> CorruptData:
    return CorruptData(
        "the saved state cannot be read", where=str(path), got=str(error),
        next_step="Move this folder away: the next start folds the log anew, which gives the same state.",
    )  # fmt: skip


def _check(meta: SavedMeta, app: str) -> None:
    if meta.format not in _READABLE:
        raise WrongState(
            "the state has another format", where="state", expected=f"format {FORMAT} or before", got=f"format {meta.format}",
            next_step="Use the Headwater that wrote it.",
        )  # fmt: skip
    if meta.app != app:
        raise WrongState(
            "the state belongs to another app, or to this app before it was changed", where="state",
            expected=app[:12], got=meta.app[:12],
            next_step="Use another --state directory, or `headwater rebuild` to fold the log anew.",
        )  # fmt: skip
