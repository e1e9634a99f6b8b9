"""What a process really did to its files, in order: every write with its bytes, every sync, rename and truncation.

LMDB and SQLite write from C, where no test double reaches; strace sees them all. A recording is made once, and stands for any
number of crashes: see `images`.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from headwater.faults.sandbox import ChildFailed, fork
from headwater.faults.tracing import allow_tracing, strace, wait_attached

MARKS = "marks"
_WRITES = "write,writev,pwrite64,pwritev,pwritev2,ftruncate,fsync,fdatasync"
_CALLS = f"openat,close,lseek,{_WRITES},rename,renameat,renameat2,link,linkat,unlink,unlinkat"
_LONGEST = 1 << 24  # bytes of one write that are written down
_LINE = re.compile(r"^(\d+) +(.*)$")
_CALL = re.compile(r"^(\w+)\((.*)\) += (-?\d+)")
_RESUMED = re.compile(r"^<\.\.\. \w+ resumed>(.*)$")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_HANDLE = re.compile(r"^(\d+)<")
_BASE = re.compile(r"iov_base=\"((?:\\x[0-9a-f]{2})*)\"")


class Op(NamedTuple):
    """One thing that happened to a file.

    Attributes:
        kind: "create", "write", "truncate", "sync", "rename", "link", "unlink" or "mark".
        path: The file, from the recorded folder on.
        at: Offset in bytes of a write; size after a truncation.
        data: What was written.
        to: The new name.
        is_durable: A write that was on disk when the call returned (O_DSYNC).
    """

    kind: str
    path: str
    at: int = 0
    data: bytes = b""
    to: str = ""
    is_durable: bool = False


@dataclass(slots=True)
class _Handle:
    path: str
    at: int = 0
    is_durable: bool = False
    is_append: bool = False


@dataclass(slots=True)
class _Reader:
    """Turns strace's lines into what happened below one folder."""

    root: str
    handles: dict[int, _Handle] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)

    def ops(self, lines: Iterator[str]) -> Iterator[Op]:
        begun: dict[str, str] = {}
        for line in lines:
            if not (found := _LINE.match(line)):
                continue
            thread, said = found[1], found[2]
            if said.endswith(" <unfinished ...>"):
                begun[thread] = said.removesuffix(" <unfinished ...>")
                continue
            if resumed := _RESUMED.match(said):
                said = begun.pop(thread, "") + resumed[1]
            if (call := _CALL.match(said)) and int(call[3]) >= 0:
                yield from self._op(call[1], call[2], int(call[3]))

    def _op(self, name: str, said: str, result: int) -> Iterator[Op]:
        if name == "openat":
            yield from self._open(said, result)
        elif name.startswith(("rename", "link")):
            old, new = (self._below(_plain(text)) for text in _TEXT.findall(said)[:2])
            if old and new:
                is_link = name.startswith("link")
                self.sizes[new] = self.sizes.get(old, 0) if is_link else self.sizes.pop(old, 0)
                yield Op("link" if is_link else "rename", old, to=new)
        elif name.startswith("unlink"):
            if path := self._below(_plain(_TEXT.findall(said)[0])):
                yield Op("unlink", path)
        elif (number := _HANDLE.match(said)) or (number := re.match(r"^(\d+)", said)):
            yield from self._on_handle(name, int(number[1]), said, result)

    def _open(self, said: str, result: int) -> Iterator[Op]:
        path = self._below(_plain(_TEXT.findall(said)[0]))
        self.handles.pop(result, None)
        if path is None:
            return
        is_new = "O_CREAT" in said and path not in self.sizes
        self.handles[result] = _Handle(path, 0, "O_DSYNC" in said or "O_SYNC" in said, "O_APPEND" in said)
        if is_new:
            self.sizes[path] = 0
            yield Op("create", path)
        elif "O_TRUNC" in said:
            self.sizes[path] = 0
            yield Op("truncate", path)

    def _on_handle(self, name: str, number: int, said: str, result: int) -> Iterator[Op]:
        handle = self.handles.get(number)
        if handle is None:
            return
        if name == "close":
            del self.handles[number]
        elif name == "lseek":
            handle.at = result
        elif name in {"fsync", "fdatasync"}:
            yield Op("sync", handle.path)
        elif name == "ftruncate":
            size = int(said.rpartition(",")[2])
            self.sizes[handle.path] = size
            yield Op("truncate", handle.path, size)
        else:
            yield self._write(name, handle, said, result)

    def _write(self, name: str, handle: _Handle, said: str, result: int) -> Op:
        texts = _BASE.findall(said) if name.endswith(("v", "v2")) else _TEXT.findall(said)[-1:]
        data = b"".join(map(bytes.fromhex, (text.replace("\\x", "") for text in texts)))[:result]
        if handle.path == MARKS:
            return Op("mark", MARKS, data=data)
        if name.startswith("pwrite"):
            at = int(said.split("], " if name.startswith("pwritev") else '", ', 1)[1].split(", ")[1].rstrip(")"))
        else:
            at = self.sizes[handle.path] if handle.is_append else handle.at
            handle.at = at + result
        self.sizes[handle.path] = max(self.sizes.get(handle.path, 0), at + result)
        return Op("write", handle.path, at, data, is_durable=handle.is_durable)

    def _below(self, path: str) -> str | None:
        if path.rstrip("/") == self.root:
            return ""
        return path.removeprefix(f"{self.root}/") if path.startswith(f"{self.root}/") else None


def _plain(text: str) -> str:
    return bytes.fromhex(text.replace("\\x", "")).decode(errors="surrogateescape")


def record(work: Callable[[Callable[[str], None]], None], root: Path) -> list[Op]:
    """Run `work` in a fork, and tell what it did below `root`.

    Args:
        work: Given a function that puts a mark into the recording.
        root: An absolute folder; files that are there before are not known.

    Raises:
        Fatal: strace is not installed, or may not attach.
        ChildFailed: The work raised.
    """
    trace, (read, write) = root.with_suffix(".strace"), os.pipe()

    def live() -> bytes:
        allow_tracing()
        os.close(write)
        os.read(read, 1)  # it is being watched from here on
        marks = os.open(root / MARKS, os.O_CREAT | os.O_WRONLY, 0o600)
        work(lambda text: (os.write(marks, text.encode()), None)[1])
        return b""

    child = fork(live, output=root.with_suffix(".out"))
    os.close(read)
    command = [strace(), "-f", "-qq", "-xx", "-s", str(_LONGEST), "-e", f"trace={_CALLS}", "-e", "signal=none",
               "-o", str(trace), "-p", str(child.pid)]  # fmt: skip
    tracer = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)  # noqa: S603 - strace
    try:
        wait_attached(child.pid, tracer)
        os.write(write, b"!")
        code = child.reap()
    finally:
        os.close(write)
        child.kill()
        tracer.communicate()
    if code or child.result() is None:
        raise ChildFailed("what was to be recorded did not end well", got=str(code))
    with trace.open(errors="replace") as lines:
        ops = list(_Reader(str(root)).ops(iter(lines)))
    trace.unlink()
    return ops
