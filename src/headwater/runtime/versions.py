"""Registers the versions that fall due."""

from __future__ import annotations

import platform
from dataclasses import replace
from importlib.metadata import version
from typing import Any

from headwater.app import App
from headwater.following.notices import Said
from headwater.registry.catalog import Catalog
from headwater.registry.version import Version
from headwater.runtime.model_fold import VERSION, Due

LIBRARIES = ("headwater", "numba", "llvmlite", "numpy")


def recipe(app: App, model: str) -> dict[str, Any]:
    """What makes a version, beside the events: equal recipes and logs give equal bits. `names`, of numbers, is for readers."""
    declared = app.models[model].describe()
    return {
        "app": app.fingerprint(), "schema": app.models[model].schema.fingerprint(), "model": declared,
        "names": [number.name for number in app.models[model].numbers],
        "python": platform.python_version(), "machine": platform.machine(),
        "libraries": {name: version(name) for name in LIBRARIES},
    }  # fmt: skip


class Registrar:
    """Writes versions to the registry; writing one again is no change."""

    def __init__(self, app: App, catalog: Catalog) -> None:
        self._app, self._catalog = app, catalog
        self._recipes = {name: recipe(app, name) for name in app.models}
        self._parents = {v.line: v.name for v in catalog.list()}

    def register(self, due: Due, cost_core_s: float = 0.0) -> Version | None:
        """Register a due version, and give what is registered (with the cost of the first time); a twin's publication is none.

        A version that was registered at this place before the app was changed stays the one of that name.

        Raises:
            Fatal: The same place in the log gave other bits before: the fold is not reproducible here.
        """
        if due.name != VERSION:
            return None
        there = self._catalog.exact(due.model, due.seq)
        if there is not None and there.recipe["app"] != self._recipes[due.model]["app"]:
            return None
        made = as_version(due, self._recipes[due.model], self._parents.get(due.model), cost_core_s)
        sha256 = self._catalog.artifacts.put(due.arrays, header(made))
        made = replace(made, sha256=sha256)
        if not self._catalog.register(made):
            made = self._catalog.exact(made.line, made.seq) or made
        self._parents[due.model] = made.name
        return made


def as_version(due: Due, made_by: dict[str, Any], parent: str | None, cost_core_s: float) -> Version:
    """The registry's entry for a due version, without its hash."""
    beside = {f"no_change_{name}": value for name, value in due.metrics.get("no_change", {}).items()}
    judged = {**due.metrics.get("live", {}), **beside}
    metrics = {name: value if value == value else None for name, value in judged.items()}  # noqa: PLR0124 - NaN
    return Version(due.model, due.seq, "", due.time_ms, due.trigger, made_by, parent, 0, metrics, cost_core_s)


def header(made: Version) -> dict[str, Any]:
    """What a version's file says of itself: only what is a function of events and recipe."""
    return {"line": made.line, "seq": made.seq, "created_ms": made.created_ms, "recipe": dict(made.recipe)}


def notice(version: Version) -> Said:
    """What is said on `_versions` when one is registered: all but its recipe, which `headwater show` has."""
    told = {name: value for name, value in version.describe().items() if name not in {"recipe", "log_start"}}
    return Said(version.name, version.created_ms, told)
