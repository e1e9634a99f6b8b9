"""A version's file: named arrays and a header, addressed by the hash of its bytes.

The format is safetensors: a length, a JSON header, raw little-endian arrays; nothing in it can run. Equal content gives
equal bytes (one metadata entry only, since the library does not order several), so that a version rebuilt from the log
lands on the same name. A file is verified before a single byte of it is parsed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from headwater.core.crashpoints import crashpoint
from headwater.core.errors import CorruptData, DiskFull, Fatal
from headwater.core.files import is_full, sync_folder

Array = npt.NDArray[Any]

MAX_HEADER_BYTES = 1 << 20
MAX_FILE_BYTES = 1 << 30
MAX_ARRAYS = 4096
_DIMENSIONS = 32  # numpy's own bound
_SUFFIX = ".safetensors"
_ENTRY = "headwater"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NEXT_STEP = "Restore the file from a copy, or make the version again from the log with `headwater rebuild`."


@dataclass(frozen=True, slots=True, eq=False)
class Artifact:
    """What a file holds. The arrays are read-only."""

    arrays: dict[str, Array]
    header: dict[str, Any]


def canonical(value: Any) -> str:
    """JSON in its one spelling: sorted keys, no spaces, no NaN.

    >>> canonical({"b": 1.0, "a": None})
    '{"a":null,"b":1.0}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def encode(arrays: Mapping[str, Array], header: Mapping[str, Any]) -> bytes:
    """The file's bytes; equal content gives equal bytes, whatever the order of names or layout in memory.

    Raises:
        Fatal: The header is larger than 1 MiB, or holds what JSON cannot.
    """
    try:
        text = canonical(header)
    except (TypeError, ValueError) as error:
        raise Fatal(f"a version's header cannot be written ({error})", expected="finite numbers, strings, lists") from error
    plain = {name: np.array(arrays[name], arrays[name].dtype.newbyteorder("<"), order="C") for name in sorted(arrays)}
    data: bytes = safetensors.save(plain, {_ENTRY: text})
    if _header_bytes(data) > MAX_HEADER_BYTES:
        raise Fatal(
            "a version's header is too large", expected=f"at most {MAX_HEADER_BYTES} bytes", got=str(_header_bytes(data))
        )
    return data


def _header_bytes(data: bytes) -> int:
    return int.from_bytes(data[:8], "little")


def decode(data: bytes, where: str = "") -> Artifact:
    """What `encode` was given.

    Raises:
        CorruptData: These are not such bytes.
    """
    if len(data) < 8 or not 2 <= _header_bytes(data) <= min(MAX_HEADER_BYTES, len(data) - 8):  # noqa: PLR2004
        raise CorruptData("a version's header has an impossible length", where=where, next_step=_NEXT_STEP)
    try:
        listed = json.loads(data[8 : 8 + _header_bytes(data)])
        _check_listed(listed, where)
        return Artifact(safetensors.load(data), json.loads(listed["__metadata__"][_ENTRY]))
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptData(f"a version's file cannot be decoded ({error!r})", where=where, next_step=_NEXT_STEP) from error


def _check_listed(listed: dict[str, Any], where: str) -> None:
    """Refuse a header that lists more arrays, or arrays of more dimensions, than anybody writes."""
    arrays = [entry for name, entry in listed.items() if name != "__metadata__"]
    widest = max((len(entry["shape"]) for entry in arrays), default=0)
    if len(arrays) > MAX_ARRAYS or widest > _DIMENSIONS:
        raise CorruptData(
            "a version's header claims too much", where=where,
            expected=f"at most {MAX_ARRAYS} arrays of {_DIMENSIONS} dimensions",
            got=f"{len(arrays)} arrays, {widest} dimensions", next_step=_NEXT_STEP,
        )  # fmt: skip


class Artifacts:
    """A folder of versions' files, each named after its SHA-256. One process writes, any number read.

    Args:
        folder: Where the files are; made when the first one is written.
        max_bytes: A larger file is neither written nor read.
    """

    def __init__(self, folder: Path, *, max_bytes: int = MAX_FILE_BYTES) -> None:
        self._folder, self._max_bytes = folder, max_bytes

    def path(self, sha256: str) -> Path:
        """The file of a hash; whatever is no hash is refused."""
        if not _SHA256.fullmatch(sha256):
            raise Fatal("this is not the hash of a version", expected="64 hexadecimal digits", got=repr(sha256[:80]))
        return self._folder / f"{sha256}{_SUFFIX}"

    def put(self, arrays: Mapping[str, Array], header: Mapping[str, Any]) -> str:
        """Store arrays and header; returns their hash once they are on disk under it. Idempotent.

        Raises:
            Fatal: Larger than allowed.
            DiskFull: No room; nothing is stored.
        """
        data = encode(arrays, header)
        if len(data) > self._max_bytes:
            raise Fatal("a version is too large", expected=f"at most {self._max_bytes} bytes", got=str(len(data)))
        sha256 = hashlib.sha256(data).hexdigest()
        path = self.path(sha256)
        if not self._has(path, data):
            self._write(path, data)
        return sha256

    def _has(self, path: Path, data: bytes) -> bool:
        try:
            return self._read(path) == data
        except CorruptData:
            return False

    def _write(self, path: Path, data: bytes) -> None:
        """Either the whole file has its name on disk or nothing has: a crash leaves at most a `.tmp` that is written over."""
        temporary = path.with_suffix(".tmp")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            crashpoint("registry.written")
            temporary.replace(path)
            crashpoint("registry.renamed")
            sync_folder(self._folder)
        except OSError as error:
            if not is_full(error):
                raise
            temporary.unlink(missing_ok=True)
            step = "Free some space, or check the disk."
            raise DiskFull(
                "a version cannot be written", where=str(self._folder), got=str(error.strerror), next_step=step
            ) from error

    def get(self, sha256: str) -> Artifact:
        """Read a file, verified before it is parsed.

        Raises:
            CorruptData: It is missing, cut short, altered or too large.
        """
        path = self.path(sha256)
        return decode(self._verified(path, sha256), str(path))

    def verify(self, sha256: str) -> None:
        """Check a file against its name without parsing it.

        Raises:
            CorruptData: As `get`.
        """
        self._verified(self.path(sha256), sha256)

    def _verified(self, path: Path, sha256: str) -> bytes:
        data = self._read(path)
        if (found := hashlib.sha256(data).hexdigest()) != sha256:
            raise CorruptData(
                "a version's file was altered or cut short", where=str(path), expected=sha256, got=found, next_step=_NEXT_STEP
            )
        return data

    def _read(self, path: Path) -> bytes:
        """A regular file's bytes: no link is followed, no pipe is waited for, and nothing too large is read."""
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            raise CorruptData("a version's file is missing", where=str(path), next_step=_NEXT_STEP) from None
        except OSError as error:
            said = f"a version's file cannot be opened ({error.strerror})"
            raise CorruptData(said, where=str(path), expected="a regular file", next_step=_NEXT_STEP) from error
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            os.close(handle)
            raise CorruptData("this is no file", where=str(path), expected="a regular file", next_step=_NEXT_STEP)
        with os.fdopen(handle, "rb") as file:
            data = b"" if found.st_size > self._max_bytes else file.read(self._max_bytes + 1)
        if max(found.st_size, len(data)) > self._max_bytes:
            expected = f"at most {self._max_bytes} bytes"
            raise CorruptData("a version's file is too large", where=str(path), expected=expected, next_step=_NEXT_STEP)
        return data

    def hashes(self) -> list[str]:
        """Hashes of all files, sorted; what is not named after a hash is left out."""
        if not self._folder.is_dir():
            return []
        return sorted(p.stem for p in self._folder.iterdir() if p.suffix == _SUFFIX and _SHA256.fullmatch(p.stem))
