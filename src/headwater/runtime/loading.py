"""Finds the `App` in a user's file."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from headwater.app import App
from headwater.core.errors import DeclarationError, HeadwaterError, nearest
from headwater.serving.answerer import Served


def load_app(spec: str) -> App:
    """Import `FILE.py` or `FILE.py:NAME` and return its App.

    Raises:
        DeclarationError: No such file, no App in it, more than one, or the file does not run.
    """
    file, _, name = spec.partition(":") if not spec.endswith(".py") else (spec, "", "")
    path = Path(file).resolve()
    if not path.is_file():
        near = [str(p) for p in Path(file).parent.glob("*.py")] if Path(file).parent.is_dir() else []
        raise DeclarationError("there is no such app file", where=file, next_step=nearest(file, near) if near else "Try `headwater init`.")
    apps = {n: v for n, v in vars(_run(path)).items() if isinstance(v, App)}
    if name and name not in apps:
        raise DeclarationError(f"there is no App named {name}", where=str(path), next_step=nearest(name, apps))
    if not name and len(set(map(id, apps.values()))) != 1:
        found = ", ".join(apps) or "none"
        raise DeclarationError(
            "which App is meant?", where=str(path), expected="exactly one, or FILE.py:NAME", got=found,
            next_step='Write app = hw.App("name", models=[...]).',
        )  # fmt: skip
    return apps[name] if name else next(iter(apps.values()))


def _run(path: Path) -> object:
    name = f"headwater_app_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except HeadwaterError:
        raise
    except Exception as error:
        raise DeclarationError(f"the app file fails: {type(error).__name__}: {error}", where=str(path)) from error
    finally:
        sys.path.remove(str(path.parent))
    return module


def served(app: App) -> dict[str, Served]:
    """What serving has to know of each model."""
    out = {}
    for number, (name, model) in enumerate(app.models.items()):
        names = (*(f.name for f in model.numbers), *(c.name for c in model.categories))
        out[name] = Served(
            number, model.schema, model.label.on, app.columns[name].numbers, tuple(model.categories), names, model.learner,
            len(model.experts),
        )  # fmt: skip
    return out
