"""The newest version of each line, signed, in a file of its own: by it an older catalogue is known as older.

A signature says who wrote a version, not that nothing newer was there. So beside the registry stands, for each line, the
newest version and how many there were. The file follows a registration: it may be a version behind after a crash, never
ahead. A catalogue that lacks what it names was restored or cut, and is refused until a person accepts it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from headwater.core.crashpoints import crashpoint
from headwater.core.errors import DiskFull, Untrusted
from headwater.core.files import is_full, replace_durably
from headwater.registry.signing import InstallationKey

FILE_NAME = "heads.json"
_PURPOSE = "headwater heads/1"
_MAX_BYTES = 8 << 20
_NEXT_STEP = "Put the newest copy back. If this one was put there on purpose, accept it with `headwater verify --accept`."


class Head(NamedTuple):
    """The newest version of a line.

    Attributes:
        seq: Its place in the log.
        sha256: Hash of its file.
        n: Versions of the line, this one included.
    """

    seq: int
    sha256: str
    n: int


class Heads:
    """The signed heads of one registry; the learner writes them, any number of processes read.

    Args:
        folder: Where the file lies.
        key: Signs and verifies.
    """

    def __init__(self, folder: Path, key: InstallationKey) -> None:
        self._path, self._key = folder / FILE_NAME, key

    @property
    def is_first_start(self) -> bool:
        """Whether nothing was ever signed off here: an installation that is new, or older than signatures."""
        return not self._path.exists()

    def read(self) -> dict[str, Head]:
        """The heads by line.

        Raises:
            Untrusted: The file is missing, or not signed by this installation.
        """
        try:
            with self._path.open("rb") as file:
                content = json.loads(file.read(_MAX_BYTES))
            said, signature = content["heads"], bytes.fromhex(content["signature"])
            if not self._key.is_signed(_PURPOSE, said, signature):
                raise self._untrusted("the list of newest versions was not signed by this installation")
            return {line: Head(*head) for line, head in said.items()}
        except OSError as error:
            raise self._untrusted(f"the list of newest versions cannot be read ({error.strerror})") from error
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise self._untrusted("the list of newest versions is damaged") from error

    def _untrusted(self, what: str) -> Untrusted:
        return Untrusted(what, where=str(self._path), next_step=_NEXT_STEP)

    def write(self, heads: Mapping[str, Head]) -> None:
        """Sign and replace them; durable on return.

        Raises:
            DiskFull: There is no room, or the disk fails; the ones before stand.
        """
        said: dict[str, Any] = {line: list(heads[line]) for line in sorted(heads)}
        content = {"heads": said, "signature": self._key.sign(_PURPOSE, said).hex()}
        try:
            replace_durably(self._path, json.dumps(content).encode())
        except OSError as error:
            if not is_full(error):
                raise
            raise DiskFull(
                "the list of newest versions cannot be written", where=str(self._path), got=str(error.strerror),
                next_step="Free some space, or check the disk. What is registered stays; the next version writes the list.",
            ) from error  # fmt: skip
        crashpoint("registry.heads_written")


def check_heads(expected: Mapping[str, Head], there: Mapping[str, Head], has: Mapping[str, str]) -> None:
    """Refuse a catalogue that is older than what was signed off.

    Args:
        expected: The signed heads.
        there: What the catalogue's heads are.
        has: For each expected line, the hash that the catalogue has at the head's place; "" where it has none.

    Raises:
        Untrusted: A line's newest version is missing or another one, or there are fewer versions than there were.
    """
    for line, head in expected.items():
        n = there[line].n if line in there else 0
        if has[line] != head.sha256 or n < head.n:
            newest = f"{line}@{there[line].seq}" if line in there else "none"
            raise Untrusted(
                "the catalogue is older than this installation's newest version", where=f"{line}@{head.seq}",
                expected=f"{head.n} versions with sha256 {head.sha256[:12]} at seq {head.seq}",
                got=f"{n} versions, the newest {newest}", next_step=_NEXT_STEP,
            )  # fmt: skip
