"""A whole response as one value, so that nothing is sent before everything has been computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from starlette.types import Send

JSON = "application/json"
_PIECE_BYTES = 256 << 10  # what a server may have to keep for a client that does not read


@dataclass(slots=True)
class Reply:
    """Status, body and headers of one response; header names in lower case."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)

    def pairs(self) -> list[tuple[bytes, bytes]]:
        """The headers as they are sent."""
        pairs = [(b"content-type", self.content_type.encode("latin-1")), (b"content-length", b"%d" % len(self.body))]
        if self.headers:
            pairs += [(name.encode("latin-1"), value.encode("latin-1")) for name, value in self.headers.items()]
        return pairs

    async def send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status, "headers": self.pairs()})
        whole = len(self.body)
        for at in range(0, whole, _PIECE_BYTES):  # each waits until the one before has been taken
            piece = self.body if whole <= _PIECE_BYTES else self.body[at : at + _PIECE_BYTES]
            await send({"type": "http.response.body", "body": piece, "more_body": at + _PIECE_BYTES < whole})
        if not whole:
            await send({"type": "http.response.body", "body": b""})
