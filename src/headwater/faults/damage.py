"""Lines that are no events of the shop: cut short, of wrong bytes, types, sizes, depths, streams and times."""

from __future__ import annotations

import json
from random import Random
from typing import Any

FAR_MS = 1_767_225_600_000 + 10**12  # thirty years after everything else

_NO_EVENTS = (
    b"{", b"[]", b"null", b"\xff\xfe\xfa", b'{"stream":"order"', b'{"stream":"nobody","id":"x","source":"bad"}',
    b'{"stream":"order","id":"x","source":"bad","order":NaN}', b'{"a":' * 10_000, b'{"stream":"order","id":1e999}',
)  # fmt: skip
_WRONG: tuple[tuple[str, object], ...] = (
    ("shop", None), ("shop", 7), ("time", "yesterday"), ("time", 1 << 70), ("order", {"deep": [[]]}), ("stream", "orders"),
    ("stream", "order.v9"), ("id", ""), ("time", FAR_MS), ("shop", [1]), ("order", True),
)  # fmt: skip


def damaged(event: dict[str, Any], random: Random) -> bytes:
    """A line that is no event; where it can be read at all, it comes from a source of its own."""
    kind = random.randrange(4)
    if kind == 0:
        return random.choice(_NO_EVENTS) + b" " * random.randrange(1000)
    event = {**event, "source": "bad", "id": f"bad-{random.randrange(1 << 40)}"}
    if kind == 1:
        text = json.dumps(event).encode()
        return text[: random.randrange(1, len(text) - 1)]
    if kind == 2:  # noqa: PLR2004 - bytes that begin no character
        text = json.dumps({**event, "order": "@@"}).encode()
        return text.replace(b"@@", bytes([random.randrange(0x80, 0xC0)]) * random.randint(1, 9))
    name, value = random.choice(_WRONG)
    return json.dumps({**event, name: value}).encode()


def huge(n_bytes: int) -> bytes:
    """One line of so many bytes."""
    head, tail = b'{"stream":"order","source":"bad","id":"huge","shop":"', b'"}'
    return head + b"x" * (n_bytes - len(head) - len(tail)) + tail
