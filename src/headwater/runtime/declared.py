"""From the path of a user's file to the `App` that it declares."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from headwater.app import App
from headwater.core.errors import DeclarationError, HeadwaterError


def load_app(path: Path) -> App:
    """Run a Python file and take the `App` from it: the one called `app`, else the only one.

    The file's own folder is importable, as with `python FILE`.

    Raises:
        DeclarationError: No such file, it fails when run, or it does not declare one app.
    """
    if not path.is_file():
        raise DeclarationError("there is no such file", where=str(path), next_step="Make one with `headwater init DIR`.")
    apps = {name: value for name, value in _run(path).items() if isinstance(value, App)}
    chosen = apps.get("app", next(iter(apps.values()), None))
    if chosen is None or ("app" not in apps and len(set(map(id, apps.values()))) > 1):
        raise DeclarationError(
            "this file does not declare one app", where=str(path), expected="app = hw.App(...)",
            got=", ".join(apps) or "none", next_step="Call the one to run `app`.",
        )  # fmt: skip
    return chosen


def _run(path: Path) -> dict[str, object]:
    spec = importlib.util.spec_from_file_location(f"headwater_app_{path.stem}", path.resolve())
    if spec is None or spec.loader is None:
        raise DeclarationError("this is not a Python file", where=str(path), expected="a name that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # annotations are resolved through it
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        spec.loader.exec_module(module)
    except HeadwaterError:
        raise
    except Exception as error:
        place = _place(error, path)
        raise DeclarationError(f"this file cannot be run ({type(error).__name__}: {error})", where=place) from error
    return vars(module)


def _place(error: Exception, path: Path) -> str:
    """`FILE:LINE` of the deepest step inside the user's file."""
    if isinstance(error, SyntaxError) and error.filename == str(path.resolve()):
        return f"{path}:{error.lineno}"
    line, step = None, error.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename == str(path.resolve()):
            line = step.tb_lineno
        step = step.tb_next
    return f"{path}:{line}" if line else str(path)
