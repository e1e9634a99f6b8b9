"""A small file that is whole, whenever the power fails: the old one or the new one, never a part, never nothing."""

from __future__ import annotations

import errno
import os
from pathlib import Path


def replace_durably(path: Path, content: bytes) -> None:
    """Put `content` under a name; it is on disk when this returns. A crash leaves at most a `.tmp`, which is written over.

    A rename alone is not enough: the new name may reach the disk before the bytes do, and then names an empty file.

    Raises:
        OSError: Nothing was replaced.
    """
    temporary = path.with_name(f"{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def is_full(error: OSError) -> bool:
    """Whether there was no room, or the disk failed: what may go well later."""
    return error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


def sync_folder(folder: Path) -> None:
    """Have a folder's names on disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
