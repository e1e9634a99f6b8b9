"""An LMDB environment whose transactions survive a map that grows and say clearly what failed.

The only file of this room that imports lmdb.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import lmdb

from headwater.core.errors import DiskFull, Fatal, HeadwaterError, WrongState

T = TypeVar("T")
Transaction = Any  # lmdb.Transaction; values come as memoryviews that live as long as it does
Database = Any

MAP_BYTES = 1 << 34  # address space, not disk: the file grows as it is written
_PAGE_BYTES = 4096
_MAX_READERS = 510
# LMDB reports a write that was cut short, as by a disk that fills up half-way, as an I/O error.
_FULL = tuple(os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO))


class Environment:
    """A folder with LMDB's two files, opened with full durability: a committed transaction is on disk.

    Threads may share it; a process opens a folder once.

    Args:
        path: The folder; it is made unless `readonly`.
        names: The databases; `databases` holds their handles in this order.
        map_bytes: Address space reserved at first; it doubles when it is full.
        readonly: Refuse to write, and to make anything.

    Raises:
        WrongState: It is not there (`readonly`), it is not LMDB's, or this process has it open already.
    """

    def __init__(self, path: Path, names: Sequence[str], *, map_bytes: int = MAP_BYTES, readonly: bool = False) -> None:
        self.path, self.readonly = path, readonly
        self._writing = threading.RLock()  # taken before `_reading`
        self._reading = threading.Lock()  # the map may move only while no transaction of this process is open
        self._env = _opened(path, len(names), map_bytes, readonly=readonly)
        try:
            self.databases: list[Database] = [self._env.open_db(name.encode(), create=not readonly) for name in names]
            self._env.reader_check()  # frees the slots of readers that were killed
        except (lmdb.NotFoundError, lmdb.ReadonlyError) as error:
            self._env.close()
            raise _absent(path) from error

    def read(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` on one snapshot. Keep it short: pages freed meanwhile cannot be used again."""
        while True:
            try:
                with self._reading, self._env.begin(buffers=True) as txn:
                    return work(txn)
            except lmdb.MapResizedError:
                self._remap(0)
            except lmdb.Error as error:
                raise _translated(error, self.path) from error

    def write(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` alone among all processes; what it put is on disk when this returns, and none of it if this raises.

        `work` runs again when the map was too small for it.

        Raises:
            DiskFull: There is no room.
            WrongState: This environment is open for reading only.
        """
        if self.readonly:
            raise WrongState("open for reading only", where=str(self.path), next_step="Open it without `readonly`.")
        with self._writing:
            while True:
                try:
                    with self._env.begin(write=True, buffers=True) as txn:
                        result = work(txn)
                except lmdb.MapFullError:
                    self._remap(2 * self._env.info()["map_size"])
                except lmdb.MapResizedError:
                    self._remap(0)
                except lmdb.Error as error:
                    raise _translated(error, self.path) from error
                else:
                    return result

    def _remap(self, n_bytes: int) -> None:
        """Move to a larger map; 0 adopts the size that another process has given it."""
        with self._writing, self._reading:
            try:
                self._env.set_mapsize(n_bytes)
            except lmdb.Error as error:
                raise _translated(error, self.path) from error

    def close(self) -> None:
        """Release files and locks once running transactions end."""
        with self._writing, self._reading:
            self._env.close()


def walk(path: Path) -> int:
    """Read all that leads to data in a folder, and the ends of each value; how many values there are.

    Memory that has no file behind it ends the process: call it in a child (see `soundness`).

    Raises:
        lmdb.Error: It is no environment, or one that contradicts itself.
    """
    n = 0
    with lmdb.open(str(path), readonly=True, lock=False, max_dbs=64, subdir=True) as env, env.begin(buffers=True) as txn:
        databases: list[Database] = [None]
        for key, _ in txn.cursor():
            try:
                databases.append(env.open_db(bytes(key), txn=txn, create=False))
            except (lmdb.IncompatibleError, lmdb.NotFoundError):  # a value of the main database
                continue
        for database in databases:
            for _, value in txn.cursor(db=database):
                n += 1
                if len(value):
                    bytes(value[:: max(1, len(value) - 1)])
    return n


def _opened(path: Path, n_names: int, map_bytes: int, *, readonly: bool) -> Any:
    if readonly and not (path / "data.mdb").exists():
        raise _absent(path)
    pages = max(-(-map_bytes // _PAGE_BYTES), 64)
    try:
        path.mkdir(parents=True, exist_ok=True)
        return lmdb.open(
            str(path), map_size=pages * _PAGE_BYTES, max_dbs=n_names, max_readers=_MAX_READERS, readonly=readonly, mode=0o640
        )
    except (lmdb.Error, OSError) as error:
        raise _translated(error, path) from error


def _absent(path: Path) -> WrongState:
    return WrongState(
        "there is nothing to read here yet",
        where=str(path),
        next_step="Check the path, or start the process that writes it first.",
    )


def is_full(error: Exception) -> bool:
    """Whether what LMDB raised means that there is no room, or that the disk took a write only in part."""
    return isinstance(error, lmdb.DiskError | lmdb.MapFullError) or any(reason in str(error) for reason in _FULL)


def _translated(error: Exception, path: Path) -> HeadwaterError:
    """What LMDB said, as something a caller can act on."""
    text, where = str(error), str(path)
    if is_full(error):
        return DiskFull(
            "the disk is full or failing",
            where=where,
            got=text,
            next_step="Nothing was stored. Free some space, or tighten retention.",
        )
    if "already open" in text:
        return WrongState("this process has it open already", where=where, next_step="Share that object: one for each process.")
    if isinstance(error, (lmdb.InvalidError, lmdb.VersionMismatchError, lmdb.CorruptedError)):
        return WrongState(
            "this is not an LMDB environment that can be read", where=where, got=text, next_step="Check the path."
        )
    return Fatal("storage failed", where=where, got=text, next_step="Check the disk and its permissions, then start again.")
