"""The shape of a stream's events, as plain values that every room shares.

A `Schema` is derived from a user's `Event` class; rooms below `app` never see that class.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

CONTROL = "_control"  # marks, costs, commands: whatever is not a function of the events
DEAD = "_dead"  # dead letters: what was refused at the door, with its reason
_TOLD = ("doc", "unit", "personal")  # for readers, and for what may be shown to them; no part of what a schema is


class Kind(enum.Enum):
    """How a field is held in a column."""

    FLOAT = "float"  # float64; NaN and null are the same thing
    INT = "int"  # int64
    BOOL = "bool"  # uint8, 0 or 1
    STR = "str"  # UTF-8


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """One field of a stream.

    `doc` and `unit` are for readers only, and `personal` says what readers may see: specs that differ in nothing else are
    equal.
    """

    name: str
    kind: Kind
    nullable: bool = False
    default: Any = None
    required: bool = True
    doc: str = dataclasses.field(default="", compare=False)
    unit: str = dataclasses.field(default="", compare=False)
    personal: bool = dataclasses.field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Schema:
    """One stream's events.

    Attributes:
        stream: Its name: a lower-case word, also its file name and URL part.
        key: The field that identifies the thing an event is about.
        lateness_ms: How far an event may lag behind the newest of its source and still be counted.
        max_ahead_ms: How far an event may lie ahead of its arrival before its clock is called wrong.
        major: The major version; incompatible schemas differ in it.
        doc: What its events are, for readers only.
    """

    stream: str
    fields: tuple[FieldSpec, ...]
    key: str
    lateness_ms: int = 0
    max_ahead_ms: int = 86_400_000
    major: int = 1
    doc: str = dataclasses.field(default="", compare=False)

    def field(self, name: str) -> FieldSpec:
        return next(f for f in self.fields if f.name == name)

    @property
    def is_personal(self) -> bool:
        """Whether an event tells something about a person."""
        return any(field.personal for field in self.fields)

    def fingerprint(self) -> str:
        """SHA-256 of the canonical description without its docs; equal schemas have equal fingerprints on any machine."""
        told = asdict(self, dict_factory=lambda items: {name: value for name, value in items if name not in _TOLD})
        body = json.dumps(told, sort_keys=True, default=lambda kind: kind.value)
        return hashlib.sha256(body.encode()).hexdigest()


def _str(name: str, nullable: bool = False) -> FieldSpec:
    return FieldSpec(name, Kind.STR, nullable=nullable)


CONTROL_SCHEMA = Schema(CONTROL, (_str("kind"), _str("body")), key="kind")
DEAD_SCHEMA = Schema(
    DEAD,
    (_str("code"), _str("reason"), _str("stream"), _str("raw"), FieldSpec("truncated", Kind.BOOL)),
    key="stream",
)
SYSTEM_SCHEMAS = (CONTROL_SCHEMA, DEAD_SCHEMA)
