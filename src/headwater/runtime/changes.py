"""What a changed declaration means for the state that is there: what is kept, backfilled and dropped.

A state directory remembers the declaration that its state was folded by. What a new declaration has in common with it is
kept as it is; what is new or different is folded from the log, as if it had been declared all along.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from headwater.app import App
from headwater.core.errors import CorruptData, WrongState
from headwater.core.files import replace_durably
from headwater.core.schema import Kind

DECLARATION = "declaration.json"
KEPT, BACKFILLED, DROPPED = "kept", "backfilled", "dropped"
Declared = Mapping[str, Any]


def declaration(app: App) -> dict[str, Any]:
    """An app as plain data: equal data, equal state after equal events."""
    streams = {
        name: json.loads(json.dumps(asdict(schema), default=lambda kind: kind.value)) for name, schema in app.streams.items()
    }
    tables = {table.name: [list(block) for block in table.blocks] for table in app.plan.tables}
    models = {name: model.describe() for name, model in app.models.items()}
    said: dict[str, Any] = json.loads(
        json.dumps({"fingerprint": app.fingerprint(), "name": app.name, "streams": streams, "tables": tables, "models": models})
    )
    return said


def remember(folder: Path, app: App) -> None:
    """Write down in a state's folder by which declaration it is folded."""
    replace_durably(folder / DECLARATION, json.dumps(declaration(app)).encode())


def remembered(folder: Path) -> dict[str, Any] | None:
    """The declaration of a state's folder; None where nothing has been folded there.

    Raises:
        CorruptData: The file is not what was written.
    """
    file = folder / DECLARATION
    if not file.exists():
        return None
    try:
        said: dict[str, Any] = json.loads(file.read_bytes())
    except ValueError as error:
        step = f"Move the folder {folder.name} away: the next start folds the log anew, which gives the same state."
        raise CorruptData(f"this file cannot be read ({error})", where=str(file), next_step=step) from error
    return said


@dataclass(frozen=True, slots=True)
class Part:
    """A model or a memory, and what becomes of it.

    Attributes:
        kind: "model" or "feature".
        name: The model's name; what the memory holds.
        fate: "kept", "backfilled" or "dropped".
        why: "new", or what is different; "" where that is all.
    """

    kind: str
    name: str
    fate: str
    why: str = ""


def difference(before: Declared, app: App) -> list[Part]:
    """What becomes of every model and memory.

    Raises:
        WrongState: The events in the log cannot be read by the new declaration.
    """
    check_streams(before, app)
    now = declaration(app)
    return [*_models(before["models"], now["models"]), *_features(before["tables"], now["tables"])]


def _models(before: Declared, now: Declared) -> Iterator[Part]:
    for name, described in now.items():
        old = before.get(name)
        if old is None:
            yield Part("model", name, BACKFILLED, "new")
        elif old == described:
            yield Part("model", name, KEPT)
        else:
            yield Part("model", name, BACKFILLED, "changed: " + ", ".join(k for k in described if described[k] != old.get(k)))
    yield from (Part("model", name, DROPPED) for name in before if name not in now)


def _features(before: Declared, now: Declared) -> Iterator[Part]:
    for table, blocks in now.items():
        old = {words: width for words, _, width in before.get(table, ())}
        known = {name for words in old for name in words.split(" + ")}
        for words, _, width in blocks:
            kept = old.get(words) == width
            for name in words.split(" + "):
                why = "" if kept else "kept together with what is new" if name in known else "new"
                yield Part("feature", name, KEPT if kept else BACKFILLED, why)
    after = {name for blocks in now.values() for words, *_ in blocks for name in words.split(" + ")}
    for blocks in before.values():
        names = [name for words, *_ in blocks for name in words.split(" + ")]
        yield from (Part("feature", name, DROPPED) for name in names if name not in after)


def check_streams(before: Declared, app: App) -> None:
    """Refuse a declaration by which the events in the log mean something else, or lack what it needs.

    Raises:
        WrongState: A field has another type, or is new and every event must have it.
    """
    for name, schema in app.streams.items():
        old = before["streams"].get(name)
        if old is None:
            continue
        fields = {field["name"]: field["kind"] for field in old["fields"]}
        for spec in schema.fields:
            where = f"{name}.{spec.name}"
            if spec.name in fields and not _can_be(fields[spec.name], spec.kind):
                raise WrongState(
                    "a field has another type than the events in the log", where=where, expected=fields[spec.name],
                    got=spec.kind.value, next_step="Give the field, or its stream, a new name; old events stay as they are.",
                )  # fmt: skip
            if spec.name not in fields and not spec.nullable and spec.default is None:
                raise WrongState(
                    "a new field is required, and the events in the log lack it", where=where,
                    expected="hw.Field[... | None], or a default",
                    next_step="Let it be null where it was not known, or give it a default.",
                )  # fmt: skip


def _can_be(was: str, kind: Kind) -> bool:
    """Whether stored values may be read as another type: a whole number as a decimal one."""
    return was == kind.value or (was, kind) == (Kind.INT.value, Kind.FLOAT)
