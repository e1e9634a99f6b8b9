"""A portable model as plain numpy arrays and a JSON header, in one `.npz`: nothing in it can run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from headwater.core.batch import Floats, Ints
from headwater.registry.portable_classes import AnyPortable, PortableClasses
from headwater.registry.scorer import load


def write(model: AnyPortable, path: Path) -> None:
    """Write `header` (JSON text), `weights` float64[n] and `stats` float64[4, d]; compressed, since most weights are 0.

    Of several classes: `weights` float64[n, classes], and `met` int64[classes], labels learnt of each.
    """
    arrays: dict[str, Any] = {"header": np.array(json.dumps(model.header())), "weights": model.weights, "stats": model.stats}
    if isinstance(model, PortableClasses):
        arrays["met"] = model.met
    with path.open("wb") as file:  # given a name, numpy would add a suffix of its own
        np.savez_compressed(file, **arrays)


def score(path: Path, xs: Floats, cs: Ints) -> Floats:
    """Scores of the written file, by numpy alone."""
    scores: Floats = load(str(path))[1](xs, cs)
    return scores
