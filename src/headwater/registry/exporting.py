"""Writes a version for other programs, and believes it only when it has given the same scores."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol, cast

import numpy as np

from headwater.core.batch import Floats, Ints
from headwater.core.errors import Fatal, nearest
from headwater.registry.portable_classes import AnyPortable, PortableClasses
from headwater.registry.probes import probes

FORMATS = ("npz", "onnx", "mlflow")
TOLERANCE = 1e-9
_MLFLOW = "MLmodel"  # the file that makes a folder a model of MLflow's


class _Format(Protocol):
    """One module of this room for each format."""

    write: Callable[[Any, Path], None]
    score: Callable[[Path, Floats, Ints], Floats]


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written, and how it was checked.

    Attributes:
        path: The file, or the folder of MLflow's.
        n: Vectors that were scored twice.
        difference: Greatest difference of two scores; where a score is a number, in parts of its size if that is above 1.
    """

    version: str
    format: str
    path: Path
    bytes: int
    n: int
    seed: int
    difference: float
    tolerance: float = TOLERANCE


def export(model: AnyPortable, to: str, path: Path, *, force: bool = False, n: int = 1000, seed: int = 0) -> Exported:
    """Write a model, score `n` vectors with it and with Headwater, and give it its name if the scores are the same.

    Args:
        model: The version.
        to: One of `FORMATS`.
        path: Where to; nothing there is replaced unless `force` is given, and then only by a checked export.
        force: Replace what is there.
        n: Number of vectors; see `probes`.
        seed: Of the vectors.

    Raises:
        Fatal: Unknown format, something is there, a library is missing, or scores differ by more than 1e-9; nothing is left
            of an export that failed.
    """
    if isinstance(model, PortableClasses) and to in FORMATS and to != "npz":
        raise Fatal(
            "a version of several classes is exported as npz only", where=model.version.name, expected="--to npz", got=to,
            next_step="Score the .npz with numpy; docs/exchange.md has the code.",
        )  # fmt: skip
    written, path = _format(to), path.absolute()
    _check_place(path, force=force)
    try:
        with TemporaryDirectory(prefix=".headwater-export-", dir=path.parent) as folder:  # beside it, so that a rename does
            part = Path(folder) / path.name
            written.write(model, part)
            difference = _difference(model, written, part, n, seed)
            if not difference <= TOLERANCE:
                raise Fatal(
                    "the exported model gives other scores; it was deleted", where=model.version.name,
                    expected=f"a difference of at most {TOLERANCE:g}", got=f"{difference:g}",
                    next_step=f"Report this, with the versions of what --to {to} needs.",
                )  # fmt: skip
            _put(part, path)
    except OSError as error:
        step = "Choose another --out."
        raise Fatal(f"the export cannot be written ({error.strerror})", where=str(path), next_step=step) from error
    return Exported(model.version.name, to, path, _bytes(path), n, seed, difference)


def _check_place(path: Path, *, force: bool) -> None:
    """Refuse to write over what is there; with `force`, still over a folder that is no exported model."""
    if path.exists() and not force:
        raise Fatal("something is there already", where=str(path), next_step="Choose another --out, or give --force.")
    if path.is_dir() and not (path / _MLFLOW).is_file():
        raise Fatal(
            "this folder is no exported model, so that it is not replaced", where=str(path), next_step="Choose another --out."
        )
    if not path.parent.is_dir():
        raise Fatal("there is no such folder", where=str(path.parent), next_step="Make it first.")


def _put(part: Path, path: Path) -> None:
    """Give what was written its name."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif part.is_dir():
        path.unlink(missing_ok=True)
    part.replace(path)


def _format(to: str) -> _Format:
    if to not in FORMATS:
        raise Fatal("no such format", where="--to", expected=", ".join(FORMATS), got=to, next_step=nearest(to, FORMATS))
    return cast("_Format", import_module(f"headwater.registry.{to}"))


def _difference(model: AnyPortable, written: _Format, path: Path, n: int, seed: int) -> float:
    """NaN where a score is not a number or is missing: no difference that could be small enough."""
    xs, cs = probes(model, n, seed)
    ours, theirs = model.score(xs, cs), written.score(path, xs, cs)
    if ours.shape != theirs.shape:
        return float("nan")
    size = np.maximum(1.0, np.abs(ours))
    return float(np.max(np.abs(ours - theirs) / size, initial=0.0))


def _bytes(path: Path) -> int:
    return sum(p.stat().st_size for p in (path.rglob("*") if path.is_dir() else [path]) if p.is_file())
