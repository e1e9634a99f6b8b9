"""Every disk that a power failure may leave behind: what was synced, and of the rest what chance says.

A write that was not synced is kept, dropped, cut at a sector or garbled; names change in order, and the last changes may be
missing. Sectors are whole: disks write 512 bytes or none of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

from headwater.faults.recording import Op

SECTOR = 512
KEPT, DROPPED, CUT, GARBLED = "kdcg"
BOOT_MARK = "view/boot"  # what was written before the machine stopped is not of this boot
_NOISE = bytes(range(255, -1, -1)) * 2


@dataclass(slots=True)
class _File:
    """A file: what is on disk for sure, and what was done to it since."""

    content: bytearray = field(default_factory=bytearray)
    waiting: list[Op] = field(default_factory=list)
    is_synced: bool = False

    def do(self, op: Op) -> None:
        if op.is_durable:
            _apply(self.content, op)
        else:
            self.waiting.append(op)

    def sync(self) -> None:
        for op in self.waiting:
            _apply(self.content, op)
        self.waiting.clear()
        self.is_synced = True

    def after(self, fates: Iterator[str]) -> tuple[bytes, int]:
        """Its content after the crash, and how many writes were not simply kept."""
        content, n = bytearray(self.content), 0
        for op in self.waiting:
            fate = next(fates)
            n += fate != KEPT
            if (left := _struck(op, fate)) is not None:
                _apply(content, left)
        return bytes(content), n


def _apply(content: bytearray, op: Op) -> None:
    if op.kind == "truncate":
        del content[op.at :]
        content.extend(bytes(op.at - len(content)))
        return
    if len(content) < op.at:
        content.extend(bytes(op.at - len(content)))
    content[op.at : op.at + len(op.data)] = op.data


def _struck(op: Op, fate: str) -> Op | None:
    """What a fate leaves of a write; None: nothing."""
    if fate == KEPT:
        return op
    first, last = op.at // SECTOR, (op.at + len(op.data) - 1) // SECTOR
    if fate == DROPPED or op.kind == "truncate" or first == last:
        return None
    border = (first + last + 1) // 2 * SECTOR - op.at  # of a sector, half-way
    if fate == CUT:
        return op._replace(data=op.data[:border])
    noise = (_NOISE * (len(op.data) // len(_NOISE) + 1))[: len(op.data) - border]
    return op._replace(data=op.data[:border] + noise)


@dataclass(slots=True)
class Disk:
    """The files below one folder while a recording is played.

    Attributes:
        names: As a running process sees them.
        sure: As they are on disk for sure.
        unsure: Changes since, in order, each with the file that it is about.
    """

    names: dict[str, _File] = field(default_factory=dict)
    sure: dict[str, _File] = field(default_factory=dict)
    unsure: list[tuple[Op, _File]] = field(default_factory=list)

    def do(self, op: Op) -> None:
        """Play one operation."""
        if op.kind in {"create", "rename", "link", "unlink"}:
            file = _File() if op.kind == "create" else self.names.get(op.path, _File())
            self.unsure.append((op, file))
            _rename(self.names, op, file)
        elif op.kind == "sync":
            self._sync(op.path)
        elif op.kind in {"write", "truncate"}:
            self.names.setdefault(op.path, _File()).do(op)

    def _sync(self, path: str) -> None:
        if path not in self.names:  # a folder: all changes of names are on disk
            self.sure, self.unsure = dict(self.names), []
            return
        self.names[path].sync()
        self.sure.setdefault(path, self.names[path])  # a new file's name goes with its first sync, as on ext4, XFS and btrfs

    def crash(self, folder: Path, fates: str, keep_names: float) -> int:
        """Write what is left into an empty folder; how many writes and names were lost or damaged.

        Args:
            folder: Where.
            fates: Letters, in turn, for the writes that are unsure.
            keep_names: Share of the changes of names that are kept.
        """
        n_kept = round(keep_names * len(self.unsure))
        names, n = dict(self.sure), len(self.unsure) - n_kept
        for op, file in self.unsure[:n_kept]:
            _rename(names, op, file)
        turn = cycle(fates)
        for path, file in sorted(names.items()):
            content, struck = file.after(turn)
            n += struck
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(b"an earlier boot" if path.endswith(BOOT_MARK) else content)
        return n


def _rename(names: dict[str, _File], op: Op, file: _File) -> None:
    if op.kind != "create":
        names.pop(op.path, None)
    if op.kind != "unlink":
        names[op.to or op.path] = file


def played(ops: Sequence[Op], stop: int) -> tuple[Disk, list[str]]:
    """The disk as a crash during `ops[stop]` finds it, and the marks before it."""
    disk, marks = Disk(), []
    for op in ops[:stop]:
        if op.kind == "mark":
            marks.append(op.data.decode())
        else:
            disk.do(op)
    if stop < len(ops) and ops[stop].kind in {"write", "truncate"}:
        disk.do(ops[stop]._replace(is_durable=False))  # under way
    return disk, marks
