"""A version of a line with several classes as other programs can have it: `portable` for `Softmax`, as npz."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from headwater.core.batch import Floats, Ints
from headwater.core.errors import CorruptData
from headwater.learning.classes import OTHER, Softmax, names_of
from headwater.learning.linear import base_of
from headwater.learning.softmax import score_classes
from headwater.registry.artifact import Artifact
from headwater.registry.portable import Portable, header_of, portable
from headwater.registry.version import Version

LEARNER = "softmax/1"  # whose arithmetic the exports repeat


@dataclass(frozen=True, slots=True, eq=False)
class PortableClasses:
    """One version of the softmax learner.

    Attributes:
        version, numbers, categories, stats: As `Portable` has them.
        learner: Its hyper-parameters.
        weights: float64[n, classes]; rows as `Portable` has them.
        met: int64[classes]: labels learnt of each class.
        classes: Their names; the first is that of all classes beyond the declared number.
    """

    version: Version
    learner: Softmax
    numbers: tuple[str, ...]
    categories: tuple[str, ...]
    weights: Floats
    stats: Floats
    met: Ints
    classes: tuple[str, ...]

    @property
    def base(self) -> int:
        """First row of the hashed categories' weights."""
        return base_of(len(self.numbers))

    def score(self, xs: Floats, cs: Ints) -> Floats:
        """Headwater's own probabilities, float64[n, classes], of numbers and rows of weights as `Portable.score` takes them."""
        out = np.empty((xs.shape[0], len(self.classes)))
        score_classes(self.weights, self.stats, self.met, xs, cs, self.learner.linear().params(), out)
        return out

    def header(self) -> dict[str, Any]:
        """As `Portable.header`, with the names of the classes."""
        said = {"learner": LEARNER, "loss": self.learner.loss, "link": "softmax", "classes": list(self.classes)}
        return header_of(self.version, self.learner.linear(), self.numbers, self.categories, said)


AnyPortable = Portable | PortableClasses


def portable_of(version: Version, stored: Artifact) -> AnyPortable:
    """A version and its file as a portable model, whatever learner made it.

    Raises:
        Fatal, CorruptData: As `portable.portable`.
    """
    model = version.recipe.get("model")
    described = dict(model.get("learner") or {}) if isinstance(model, Mapping) else {}
    return _portable(version, stored, described) if described.get("learner") == LEARNER else portable(version, stored)


def _portable(version: Version, stored: Artifact, described: dict[str, Any]) -> PortableClasses:
    try:
        learner, model = (
            Softmax(**{name: value for name, value in described.items() if name != "learner"}),
            version.recipe["model"],
        )
        numbers = tuple(map(str, version.recipe.get("names", model["numbers"])))
        classes, base = (OTHER, *names_of(stored.arrays["names"])), base_of(len(numbers))
        weights = np.zeros((base + (1 << learner.bits), len(classes)))
        weights[:base] = stored.arrays["dense"]
        weights[base + stored.arrays["hashed_at"]] = stored.arrays["hashed"]
        stats = np.ascontiguousarray(stored.arrays["stats"], np.float64).reshape(4, len(numbers))
        met = np.array(stored.arrays["met"], np.int64).reshape(len(classes))
        categories = tuple(map(str, model["categories"]))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise CorruptData(f"this version does not hold what its recipe says ({error!r})", where=version.name) from error
    return PortableClasses(version, learner, numbers, categories, weights, stats, met, classes)
