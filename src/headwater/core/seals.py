"""By what an installation knows bytes that it wrote itself.

Some learners have no state but what a loader runs code to read back. A seal (HMAC-SHA-256) is checked before any loader
sees a byte, so that whatever somebody else put into the state directory or the view is refused unread. A seal says who
wrote the bytes and for which place, not when: yesterday's own state is known too.
"""

from __future__ import annotations

import hashlib
import hmac

from headwater.core.errors import Untrusted

SEAL_BYTES = 32


class Seal:
    """The sealing secret of one installation.

    Args:
        secret: Known to this installation's processes only; at least 16 bytes.
    """

    def __init__(self, secret: bytes) -> None:
        assert len(secret) >= 16, "a seal of a short secret can be guessed"  # noqa: PLR2004 - bytes
        self._secret = secret

    def of(self, place: str, data: bytes) -> bytes:
        """The seal, 32 bytes, of bytes that belong in a place; what is sealed for one place is foreign in another."""
        name = place.encode()
        return hmac.digest(self._secret, len(name).to_bytes(8, "big") + name + data, hashlib.sha256)

    def check(self, place: str, data: bytes, seal: bytes | None) -> None:
        """Refuse bytes that were not sealed here for this place.

        Raises:
            Untrusted: There is no seal, or it is another's.
        """
        if seal is None or not hmac.compare_digest(self.of(place, data), seal):
            raise Untrusted(
                "a learner's state was not written by this installation", where=place, expected="the installation's seal",
                got="none" if not seal else "another one",
                next_step="Move the folder `state` away: the next start folds the log anew, which gives the same state.",
            )  # fmt: skip
