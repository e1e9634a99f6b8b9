"""An LMDB environment whose transactions survive a map that grows and say clearly what failed.

The only file of this room that imports lmdb.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import lmdb

from headwater.core.errors import DiskFull, Fatal, HeadwaterError, WrongState
from headwater.core.files import sync_folder

T = TypeVar("T")
Transaction = Any  # lmdb.Transaction; values come as memoryviews that live as long as it does
Database = Any

MAP_BYTES = 1 << 34  # address space, not disk: the file grows as it is written
_PAGE_BYTES = 4096
_MAX_READERS = 510
_MAKING = "making-"  # a folder in which a new environment is made; a crash may leave one
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
        self.path, self.readonly, self._names = path, readonly, names
        self._is_broken = False  # open it anew before anything else
        self._writing = threading.RLock()  # taken before `_reading`
        self._reading = threading.Lock()  # the map may move only while no transaction of this process is open
        self._map_bytes = map_bytes
        self._open()

    def _open(self) -> None:
        self._env = _opened(self.path, len(self._names), self._map_bytes, readonly=self.readonly)
        try:
            self.databases: list[Database] = [
                self._env.open_db(name.encode(), create=not self.readonly) for name in self._names
            ]
            self._env.reader_check()  # frees the slots of readers that were killed
        except (lmdb.NotFoundError, lmdb.ReadonlyError) as error:
            self._env.close()
            raise _absent(self.path) from error
        except lmdb.Error as error:
            self._env.close()
            raise translated(error, self.path) from error

    def read(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` on one snapshot. Keep it short: pages freed meanwhile cannot be used again."""
        while True:
            if self._is_broken:
                self._reopen()
            try:
                with self._reading, self._env.begin(buffers=True) as txn:
                    return work(txn)
            except lmdb.MapResizedError:
                self._remap(0)
            except lmdb.PanicError:
                self._is_broken = True
            except lmdb.Error as error:
                raise translated(error, self.path) from error

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
                if self._is_broken:
                    self._reopen()
                try:
                    with self._env.begin(write=True, buffers=True) as txn:
                        result = work(txn)
                except lmdb.MapFullError:
                    self._remap(2 * self._env.info()["map_size"])
                except lmdb.MapResizedError:
                    self._remap(0)
                except lmdb.PanicError:
                    self._is_broken = True
                except lmdb.Error as error:
                    raise translated(error, self.path) from error
                else:
                    return result

    def _remap(self, n_bytes: int) -> None:
        """Move to a larger map; 0 adopts the size that another process has given it."""
        with self._writing, self._reading:
            try:
                self._env.set_mapsize(n_bytes)
                self._map_bytes = self._env.info()["map_size"]
            except lmdb.Error as error:
                raise translated(error, self.path) from error

    def _reopen(self) -> None:
        """Open it anew: LMDB refuses all use after a write of its first pages has failed, until that is done.

        What is read then is the last transaction that was committed. Databases get new handles, so ask `databases` each time.
        """
        with self._writing, self._reading:
            if self._is_broken:  # another thread may have been quicker
                self._env.close()
                self._open()
                self._is_broken = False

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
        if not readonly:
            make_environment(path)
        return lmdb.open(
            str(path), map_size=pages * _PAGE_BYTES, max_dbs=n_names, max_readers=_MAX_READERS, readonly=readonly, mode=0o640
        )
    except (lmdb.Error, OSError) as error:
        raise translated(error, path) from error


def make_environment(path: Path) -> None:
    """Have an empty environment in a folder, unless there is one.

    LMDB writes the first pages of a new file without a sync: after a power failure just then, it would be no environment and
    could not be opened. So it is made beside, and has its name once it is on disk.

    Raises:
        OSError, lmdb.Error: It cannot be made.
    """
    file = path / "data.mdb"
    path.mkdir(parents=True, exist_ok=True)
    if file.exists():
        return
    making = Path(tempfile.mkdtemp(prefix=_MAKING, dir=path))
    try:
        lmdb.open(str(making), map_size=64 * _PAGE_BYTES, subdir=True, mode=0o640).close()
        with (making / "data.mdb").open("rb") as made:
            os.fsync(made.fileno())
        with contextlib.suppress(FileExistsError):  # another process was quicker: its file stands
            file.hardlink_to(making / "data.mdb")
        sync_folder(path)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _absent(path: Path) -> WrongState:
    return WrongState(
        "there is nothing to read here yet",
        where=str(path),
        next_step="Check the path, or start the process that writes it first.",
    )


def is_full(error: Exception) -> bool:
    """Whether what LMDB raised means that there is no room, or that the disk took a write only in part."""
    return isinstance(error, lmdb.DiskError | lmdb.MapFullError) or any(reason in str(error) for reason in _FULL)


@contextmanager
def begun(env: Any, path: Path, *, write: bool = False) -> Iterator[Transaction]:
    """A transaction of an environment that is no `Environment`, with errors that a caller can act on.

    Raises:
        DiskFull: There is no room; nothing was changed.
        Fatal: The disk failed; LMDB refuses all use until the environment is opened anew. What was committed before stands.
    """
    try:
        with env.begin(write=write) as txn:
            yield txn
    except lmdb.Error as error:
        raise translated(error, path) from error


def translated(error: Exception, path: Path) -> HeadwaterError:
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
