"""A version as other programs can have it: what it takes, in order, and the arrays that its score is made of.

The learner's hashed weights are kept sparsely in a version's file; here they are whole again. What a feature's value *is*
(windows, half-lives, hashes) is not part of a portable model: it takes the vector and gives the score.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from headwater.core.batch import Floats, Ints
from headwater.core.errors import CorruptData, Fatal
from headwater.learning.kernels import score_rows
from headwater.learning.linear import Linear, base_of, category_salt
from headwater.registry.artifact import Artifact
from headwater.registry.version import Version

FORMAT = "headwater-portable/1"
LEARNER = "linear/2"  # whose arithmetic the exports repeat
HUGE = 1e100  # beyond it a number counts as missing, and a score is cut


@dataclass(frozen=True, slots=True, eq=False)
class Portable:
    """One version of the linear learner.

    Attributes:
        version: The registered version.
        learner: Its hyper-parameters.
        numbers: Names of the d numbers, in the vector's order; their canonical texts in a version that holds no names.
        categories: Names of the k categories, in order.
        weights: float64[n]: intercept, numbers, their missing indicators, hashed categories.
        stats: float64[4, d]: count, mean, variance and 1 / sd of each number.
    """

    version: Version
    learner: Linear
    numbers: tuple[str, ...]
    categories: tuple[str, ...]
    weights: Floats
    stats: Floats

    @property
    def base(self) -> int:
        """First row of the hashed categories' weights."""
        return base_of(len(self.numbers))

    @property
    def scaling(self) -> tuple[Floats, Floats, float]:
        """Mean and 1 / sd of each number, and the bound on what comes of it; numbers that stay as they are have 0, 1, 1e100."""
        if self.learner.standardize:
            return self.stats[1], self.stats[3], min(self.learner.clip_z, HUGE)
        return np.zeros(len(self.numbers)), np.ones(len(self.numbers)), HUGE

    def score(self, xs: Floats, cs: Ints) -> Floats:
        """Headwater's own scores, float64[n], of float64[n, d] numbers (NaN where missing) and int64[n, k] rows of weights."""
        out = np.empty(xs.shape[0])
        score_rows(self.weights, self.stats, xs, cs, self.learner.params(), out)
        return out

    def header(self) -> dict[str, Any]:
        """All that is no array, as JSON has it; docs/exchange.md says what each entry means."""
        link = "logistic" if self.learner.loss == "log" else "identity"
        said = {"learner": LEARNER, "loss": self.learner.loss, "link": link}
        return header_of(self.version, self.learner, self.numbers, self.categories, said)


def header_of(
    version: Version, learner: Linear, numbers: tuple[str, ...], categories: tuple[str, ...], said: Mapping[str, Any]
) -> dict[str, Any]:
    """A header: where the model is from, `said` of its learner, and how its vector is made."""
    salts = [{"name": name, "salt": f"{int(category_salt(_salted(name))):016x}"} for name in categories]
    return {
        "format": FORMAT, "version": version.name, "sha256": version.sha256, "line": version.line, "seq": version.seq,
        "created_ms": version.created_ms, **said, "numbers": list(numbers), "categories": salts,
        "base": base_of(len(numbers)), "bits": learner.bits, "standardize": learner.standardize,
        "clip_z": min(learner.clip_z, HUGE) if learner.standardize else HUGE, "huge": HUGE,
    }  # fmt: skip


def _salted(name: str) -> str:
    """By what a category's weights are told apart: all words of a text share theirs (see `features.memories.Category`)."""
    return re.sub(r"^(words\(.*\))\[\d+\]$", r"\1", name)


def portable(version: Version, stored: Artifact) -> Portable:
    """A version and its file as a portable model.

    Raises:
        Fatal: It was made by a learner, or written in a way, that this Headwater cannot export.
        CorruptData: Its arrays do not belong together.
    """
    model = version.recipe.get("model")
    described = dict(model.get("learner") or {}) if isinstance(model, Mapping) else {}
    if (kind := described.pop("learner", None)) != LEARNER:
        raise Fatal(
            "this version's learner cannot be exported", where=version.name, expected=LEARNER,
            got="a recipe that names no learner" if kind is None else str(kind),
            next_step="Export it with the Headwater that made it, or register a new version.",
        )  # fmt: skip
    assert isinstance(model, Mapping)
    try:
        learner = Linear(**described)
        numbers = tuple(map(str, version.recipe.get("names", model["numbers"])))
        categories = tuple(map(str, model["categories"]))
        weights = _weights(stored, base_of(len(numbers)), learner.bits)
        stats = np.ascontiguousarray(stored.arrays["stats"], np.float64).reshape(4, len(numbers))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise CorruptData(f"this version does not hold what its recipe says ({error!r})", where=version.name) from error
    return Portable(version, learner, numbers, categories, weights, stats)


def _weights(stored: Artifact, base: int, bits: int) -> Floats:
    """float64[base + 2^bits], from the dense ones and the list of those hashed ones that are not zero."""
    weights = np.zeros(base + (1 << bits))
    weights[:base] = stored.arrays["dense"]
    weights[base + stored.arrays["hashed_at"]] = stored.arrays["hashed"]
    return weights
