"""Takes an estimator's attributes apart into JSON and arrays, and puts them together again: what a pickle does, but only data.

Objects are made again of three classes of scikit-learn's, named here, by setting their attributes; nothing is ever called.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from headwater.core.errors import Fatal
from headwater.learning.protocol import Array, library

_HOMES = {  # objects that estimators keep, and where their classes are: only these are ever made again
    "AdamOptimizer": "sklearn.neural_network._stochastic_optimizers",
    "SGDOptimizer": "sklearn.neural_network._stochastic_optimizers",
    "LabelBinarizer": "sklearn.preprocessing",
}


def apart(value: Any, name: str, arrays: dict[str, Array]) -> Any:  # noqa: PLR0911 - one line for each kind
    """What JSON can say of a value; its arrays go into `arrays`.

    Raises:
        Fatal: It is of a kind that cannot be kept.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float | np.number):  # JSON has no infinity, and no float64
        arrays[name] = np.array([value])
        return {"number": name, "python": isinstance(value, float) and not isinstance(value, np.number)}
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        arrays[name] = value.copy()
        return {
            "array": name,
            "shape": list(value.shape),
            "fortran": bool(value.flags.f_contiguous and not value.flags.c_contiguous),
        }
    if isinstance(value, list | tuple):
        return {"list": [apart(v, f"{name}.{i}", arrays) for i, v in enumerate(value)], "tuple": isinstance(value, tuple)}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: apart(v, f"{name}.{key}", arrays) for key, v in value.items()}}
    if isinstance(value, np.random.RandomState):
        return {"random": apart(value.get_state(), name, arrays)}
    if type(value).__name__ in _HOMES:
        return {"object": type(value).__name__, "inside": apart(vars(value), name, arrays)}
    raise Fatal("an estimator keeps what cannot be saved", where=name, got=type(value).__name__,
                expected="arrays, numbers and texts", next_step="Write a learner of your own around it.")  # fmt: skip


def together(said: Any, arrays: Mapping[str, Array]) -> Any:  # noqa: PLR0911
    """The other way round."""
    if not isinstance(said, dict):
        return said
    if "number" in said:
        number = arrays[said["number"]][0]
        return float(number) if said["python"] else number
    if "array" in said:
        array = np.array(arrays[said["array"]]).reshape(said["shape"])
        return np.asfortranarray(array) if said["fortran"] else array
    if "list" in said:
        items = [together(v, arrays) for v in said["list"]]
        return tuple(items) if said["tuple"] else items
    if "dict" in said:
        return {key: together(v, arrays) for key, v in said["dict"].items()}
    if "random" in said:
        random = np.random.RandomState()
        random.set_state(together(said["random"], arrays))
        return random
    made = object.__new__(getattr(library(_HOMES[said["object"]], "sklearn", "hw.SklearnPartialFit"), said["object"]))
    vars(made).update(together(said["inside"], arrays))
    return made
