"""Looks through an LMDB environment in a child process, which a damaged file may kill.

A file that was cut short, by a crash of the machine or a copy that did not end, is mapped as if it were whole: reading what is
missing ends a process by SIGBUS, without a word. So after an unclean stop a child reads first, and its end is an error that
names the file.
"""

from __future__ import annotations

import faulthandler
import os
import signal
from pathlib import Path

from headwater.core.errors import CorruptData
from headwater.log.environment import walk

_BROKEN = 3


def check_environment(folder: Path) -> None:
    """Read every page that leads to data, and the ends of every value, in a child; nothing is there: nothing is wrong.

    Raises:
        CorruptData: The child was killed, or LMDB said that something is wrong.
    """
    file = folder / "data.mdb"
    if not file.exists():
        return
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        _look(folder, write)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read().decode(errors="replace")
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code == 0:
        return
    got = said or (f"reading it ended with {signal.Signals(-code).name}" if code < 0 else f"reading it ended with {code}")
    raise CorruptData(
        "this file is damaged or was cut short", where=str(file), expected="a whole LMDB environment",
        got=f"{got}; the file has {file.stat().st_size:,} bytes",
        next_step="Restore it from a copy. If it is the state's, move its folder away: the log is folded anew.",
    )  # fmt: skip


def _look(folder: Path, pipe: int) -> None:
    """The child's life; never returns."""
    faulthandler.disable()  # its end is expected, and told by its parent
    try:
        walk(folder)
    except BaseException as error:  # noqa: BLE001 - its parent is told of everything
        os.write(pipe, f"{type(error).__name__}: {error}".encode(errors="replace"))
        os._exit(_BROKEN)
    os._exit(0)
