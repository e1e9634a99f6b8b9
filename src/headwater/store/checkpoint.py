"""The durable state of a fold, and the rows that leave it, in one transaction.

Arrays are cut into blocks of about 32 KiB; a save writes the blocks that changed, the rows of the outbox and the next
`seq`, and syncs once. A reader of an older save sees it whole until the new one is there: `kill -9` at any instant leaves
one or the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lmdb
import msgspec
import numpy as np

from headwater.core.crashpoints import crashpoint
from headwater.core.errors import CorruptData, DiskFull, WrongState

FORMAT = 2
_BLOCK_BYTES = 32_768
_MAP_BYTES = 1 << 36

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


@dataclass(slots=True)
class Save:
    """One save, ready to be written.

    Attributes:
        meta: Its header.
        blocks: (key, bytes) of changed blocks.
        outbox: (stream, key, bytes) of rows that leave the fold; a key written twice stays one row.
    """

    meta: SavedMeta
    blocks: list[tuple[bytes, bytes]] = field(default_factory=list)
    outbox: list[tuple[str, bytes, bytes]] = field(default_factory=list)


def _key(name: str, block: int) -> bytes:
    return name.encode() + b"\0" + block.to_bytes(6, "big")


def rows_per_block(array: Array) -> int:
    """How many rows of an array make a block."""
    row_bytes = array.itemsize * int(np.prod(array.shape[1:], dtype=np.int64)) or 1
    return max(1, _BLOCK_BYTES // row_bytes)


class Differ:
    """Finds the changed blocks of arrays: by flags where the kernels set them, else by comparing with a copy."""

    def __init__(self) -> None:
        self._shadows: dict[str, Array] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}

    def add(self, save: Save, name: str, array: Array, changed: Array | None = None) -> None:
        """Add an array's changed blocks to a save.

        Args:
            save: The save.
            name: The array's name.
            array: The array; at least one dimension.
            changed: bool[rows], or None to compare.
        """
        array = np.ascontiguousarray(array)
        per = rows_per_block(array)
        save.meta.arrays[name] = ArrayMeta(array.dtype.str, array.shape, per)
        whole = self._shapes.get(name) != array.shape
        self._shapes[name] = array.shape
        for block in self._blocks(name, array, changed, per, whole=whole and changed is None):
            save.blocks.append((_key(name, block), array[block * per : (block + 1) * per].tobytes()))

    def _blocks(self, name: str, array: Array, changed: Array | None, per: int, *, whole: bool) -> Iterator[int]:
        if changed is not None:
            yield from np.unique(np.flatnonzero(changed) // per).tolist()
            return
        shadow = self._shadows.get(name)
        self._shadows[name] = array.copy()
        for block in range(-(-array.shape[0] // per)):
            rows = slice(block * per, (block + 1) * per)
            if whole or shadow is None or array[rows].tobytes() != shadow[rows].tobytes():
                yield block


class Checkpoints:
    """The state environment. One process writes (the learner); others may read the outbox."""

    def __init__(self, path: Path, *, readonly: bool = False) -> None:
        if not readonly:
            path.mkdir(parents=True, exist_ok=True)
        elif not (path / "data.mdb").exists():
            raise WrongState(
                "nothing has been saved here yet", where=str(path), next_step="Check --state, or `headwater run` first."
            )
        try:
            self._env = lmdb.open(str(path), map_size=_MAP_BYTES, max_dbs=64, subdir=True, readonly=readonly, max_readers=256)
        except lmdb.Error as error:
            raise _unreadable(path, error) from error
        self._blocks = self._env.open_db(b"blocks", create=not readonly) if not readonly else None
        self._pool = ThreadPoolExecutor(1, "checkpoint") if not readonly else None
        self._pending: Future[None] | None = None

    def load(self, app: str) -> tuple[SavedMeta, dict[str, Array]] | None:
        """The last save, or None in a fresh directory.

        Raises:
            WrongState: It was made by another app or a newer format.
            CorruptData: A block is missing or has the wrong size.
        """
        with self._env.begin() as txn:
            found = txn.get(b"meta")
            if found is None:
                return None
            meta = _decode(found)
            _check(meta, app)
            return meta, {name: self._array(txn, name, spec) for name, spec in meta.arrays.items()}

    def _array(self, txn: lmdb.Transaction, name: str, spec: ArrayMeta) -> Array:
        out = np.empty(spec.shape, np.dtype(spec.dtype))
        for block in range(-(-spec.shape[0] // spec.rows_per_block)):
            part = out[block * spec.rows_per_block : (block + 1) * spec.rows_per_block]
            value = txn.get(_key(name, block), db=self._blocks)
            if value is None or len(value) < part.nbytes:
                raise CorruptData(
                    "a block of the state is missing", where=f"{name}[{block}]", expected=f"{part.nbytes} bytes",
                    got="nothing" if value is None else f"{len(value)} bytes", next_step="Run `headwater doctor`.",
                )  # fmt: skip
            part[...] = np.frombuffer(value, out.dtype, part.size).reshape(part.shape)
        return out

    def save(self, save: Save) -> None:
        """Write in the background; waits for the one before. An error of the one before is raised here."""
        self.wait()
        assert self._pool is not None
        self._pending = self._pool.submit(self._write, save)

    def wait(self) -> None:
        """Until the last save is on disk."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.result()

    def _write(self, save: Save) -> None:
        try:
            with self._env.begin(write=True) as txn:
                for key, value in save.blocks:
                    txn.put(key, value, db=self._blocks)
                crashpoint("checkpoint.blocks_put")
                for stream, key, value in save.outbox:
                    txn.put(stream.encode() + b"\0" + key, value)
                txn.put(b"meta", _encode(save.meta))
                crashpoint("checkpoint.put")
            crashpoint("checkpoint.committed")
        except (lmdb.DiskError, lmdb.MapFullError) as error:
            raise DiskFull("the checkpoint cannot be written", where="state", next_step="Free disk space.") from error

    def outbox(self, stream: str, since: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """(key, bytes) of a stream's rows in key order, from the first key >= since."""
        prefix = stream.encode() + b"\0"
        with self._env.begin() as txn, txn.cursor() as cursor:
            found = cursor.set_range(prefix + since)
            while found and cursor.key().startswith(prefix):
                yield cursor.key()[len(prefix) :], cursor.value()
                found = cursor.next()

    def trim(self, stream: str, keep: int) -> None:
        """Drop a stream's oldest rows beyond `keep`, after the save that is being written."""
        assert self._pool is not None
        self._pool.submit(self._trim, stream, keep)

    def _trim(self, stream: str, keep: int) -> None:
        keys = [k for k, _ in self.outbox(stream)]
        with self._env.begin(write=True) as txn:
            for key in keys[: max(0, len(keys) - keep)]:
                txn.delete(stream.encode() + b"\0" + key)

    def seq(self) -> int:
        """The next place in the log of the last save."""
        with self._env.begin() as txn:
            found = txn.get(b"meta")
        return _decode(found).seq if found else 0

    def close(self) -> None:
        self.wait()
        if self._pool is not None:
            self._pool.shutdown()
        self._env.close()


def _unreadable(path: Path, error: lmdb.Error) -> CorruptData:
    return CorruptData(
        "the saved state cannot be read", where=str(path), got=str(error),
        next_step="Move this folder away: the next start folds the log anew, which gives the same state.",
    )  # fmt: skip


def _check(meta: SavedMeta, app: str) -> None:
    if meta.format != FORMAT:
        raise WrongState(
            "the state has another format", where="state", expected=f"format {FORMAT}", got=f"format {meta.format}",
            next_step="Use the Headwater that wrote it.",
        )  # fmt: skip
    if meta.app != app:
        raise WrongState(
            "the state belongs to another app, or to this app before it was changed", where="state",
            expected=app[:12], got=meta.app[:12],
            next_step="Use another --state directory, or `headwater rebuild` to fold the log anew.",
        )  # fmt: skip
