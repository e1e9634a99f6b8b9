"""A portable model as plain numpy arrays and a JSON header, in one `.npz`: nothing in it can run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from headwater.core.batch import Floats, Ints
from headwater.registry.portable import Portable
from headwater.registry.scorer import load


def write(model: Portable, path: Path) -> None:
    """Write `header` (JSON text), `weights` float64[n] and `stats` float64[4, d]; compressed, since most weights are 0."""
    with path.open("wb") as file:  # given a name, numpy would add a suffix of its own
        np.savez_compressed(file, header=np.array(json.dumps(model.header())), weights=model.weights, stats=model.stats)


def score(path: Path, xs: Floats, cs: Ints) -> Floats:
    """Scores of the written file, by numpy alone."""
    scores: Floats = load(str(path))[1](xs, cs)
    return scores
