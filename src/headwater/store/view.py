"""What the learner shows to others: weights, entities' memories and waiting questions, all at one place in the log.

One LMDB environment, written by the learner a few hundred times a second and read by any process. A read transaction
sees one published state whole, so that an answer can never mix two, and a killed learner leaves the last one standing.
It is not durable and need not be: the durable state is the checkpoint, and a restarted learner publishes again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import takewhile
from pathlib import Path
from typing import Any, Protocol

import lmdb
import msgspec
import numpy as np

from headwater.core.batch import Floats
from headwater.core.errors import DiskFull, Retryable
from headwater.core.hashing import Hashes

_META = b"m"
_MAP_BYTES = 1 << 36  # address space, not disk
_U16 = np.dtype(">u2")


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


def entity_key(table: int, key: int) -> bytes:
    """Where an entity's row is."""
    return b"e" + table.to_bytes(2, "big") + key.to_bytes(8, "big")


def question_key(model: int, key: int) -> bytes:
    """Where a waiting question is."""
    return b"q" + model.to_bytes(2, "big") + key.to_bytes(8, "big")


def weights_key(line: str) -> bytes:
    return b"w" + line.encode()


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
        self._env = _open(path, readonly=False)

    def seq(self) -> int:
        """How far the published state has got; 0 if nothing is published."""
        with self._env.begin() as txn:
            found = txn.get(_META)
        return _decode(found).seq if found else 0

    def questions(self) -> list[bytes]:
        """Keys of all waiting questions that are shown."""
        with self._env.begin() as txn, txn.cursor() as cursor:
            found = cursor.set_range(b"q")
            keys: list[bytes] = (
                list(takewhile(lambda key: key.startswith(b"q"), cursor.iternext(values=False))) if found else []
            )
        return keys

    def clear(self) -> None:
        """Forget everything, row by row: dropping LMDB's main database leaves pages that later commits trip over."""
        with self._env.begin(write=True) as txn, txn.cursor() as cursor:
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
        try:
            with self._env.begin(write=True) as txn, txn.cursor() as cursor:
                for key in deletes:
                    txn.delete(key)
                cursor.putmulti(puts)
                if status is not None:
                    txn.put(_STATUS, status)
                txn.put(_META, _encode(meta))
        except (lmdb.DiskError, lmdb.MapFullError) as error:
            raise DiskFull("the online view cannot be written", where="view", next_step="Free disk space.") from error

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
    """One published state; valid inside `ViewReader.open`."""

    def __init__(self, txn: Rows, meta: ViewMeta) -> None:
        self._txn, self.meta = txn, meta

    def row(self, key: bytes) -> Floats | None:
        """A row's floats, as a read-only view; None if there is none."""
        found = self._txn.get(key)
        return None if found is None else np.frombuffer(found, np.float64)

    def rows(self, prefix: int, keys: Hashes, width: int, table: bytes = b"e") -> tuple[Floats, Any]:
        """Rows of several keys; float64[n, width] and bool[n] (False: none, and the row is zero)."""
        out, found = np.zeros((keys.size, width)), np.zeros(keys.size, np.bool_)
        head = table + prefix.to_bytes(2, "big")
        for i, key in enumerate(keys.tolist()):
            value = self._txn.get(head + key.to_bytes(8, "big"))
            if value is not None:
                out[i], found[i] = np.frombuffer(value, np.float64), True
        return out, found

    def status(self) -> dict[str, Any]:
        found = self._txn.get(_STATUS)
        status: dict[str, Any] = msgspec.json.decode(bytes(found)) if found else {}
        return status


class ViewReader:
    """Any other process's side."""

    def __init__(self, path: Path) -> None:
        self._env = _open(path, readonly=False)

    @contextlib.contextmanager
    def open(self) -> Iterator[View]:
        """The newest published state.

        Raises:
            Retryable: Nothing is published yet.
        """
        with self._env.begin(buffers=True) as txn:
            found = txn.get(_META)
            if found is None:
                raise Retryable("nothing is published yet", where="view", next_step="Wait until the learner has started.")
            yield View(txn, _decode(found))

    def close(self) -> None:
        self._env.close()
