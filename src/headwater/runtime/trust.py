"""What an installation may take for its own: its key, and whether there can be anything yet that the key has not seen.

An installation of a release without signatures has versions and states that nobody signed. They are taken for its own once:
at the first start that finds no signed list of newest versions. That list is written last, so that a start which was cut
short is a first start still.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from headwater.core.clock import Clock, SystemClock
from headwater.core.errors import HeadwaterError, Untrusted
from headwater.core.seals import Seal
from headwater.following.notices import INCIDENTS, Notices
from headwater.registry.heads import Heads
from headwater.registry.signing import InstallationKey, trust_folder


@dataclass(frozen=True, slots=True)
class Trust:
    """The installation's seal.

    Attributes:
        seal: Goes on every state that is written.
        is_first_start: Nothing has been signed off here yet.
    """

    seal: Seal
    is_first_start: bool

    @classmethod
    def of(cls, registry: Path) -> Self:
        """That of a registry's installation; its key is made if need be.

        Raises:
            Untrusted: The key cannot be read.
        """
        key = InstallationKey.open(trust_folder(registry), make=True)
        return cls(key.seal, Heads(trust_folder(registry), key).is_first_start)

    @property
    def expected(self) -> Seal | None:
        """What must be on a state that is read; None at the first start."""
        return None if self.is_first_start else self.seal


def note_refused(folder: Path, error: Untrusted, clock: Clock | None = None) -> None:
    """Say on `_incidents` that something was refused; the same thing is said once. It never hides the error itself.

    Args:
        folder: Of the notices.
        error: What was refused.
        clock: Stamps it.
    """
    told = {"kind": "untrusted", "what": error.what, "where": error.where, "expected": error.expected, "got": error.got}
    time_ms = (clock or SystemClock()).now_us() // 1000
    with suppress(HeadwaterError, OSError):
        notices = Notices(folder)
        try:
            notices.append(INCIDENTS, f"untrusted@{error.where}:{error.got}", time_ms, told)
        finally:
            notices.close()
