"""River's models in the event lane.

River models are trees of Python objects, and a pickle is the only complete form of their state. Pickles are made by the learner
and read back from its own state directory and nowhere else: a registered version holds one as bytes, which nothing opens.
What is read back may only name classes of River, numpy and a few harmless ones of Python's; anything else is refused.

After each block the model goes through its own bytes, whether it was restarted there or not. Otherwise two runs that learnt
the same could differ in which of their strings are one object, and so in their bytes.
"""

from __future__ import annotations

import copyreg
import hashlib
import io
import pickle
import random
import sys
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from headwater.core.batch import Floats, Ints
from headwater.core.errors import CorruptData, DeclarationError
from headwater.learning.protocol import LearnerState, check_block, check_shape, library, versioned

_PROTOCOL = 5
_WHERE = "hw.River"
_ROOTS = frozenset({"collections", "datetime", "random", "math", "decimal", "fractions"})
_NUMPY = frozenset({
    "ndarray", "dtype", "_reconstruct", "scalar", "_frombuffer", "float64", "float32", "int64", "int32", "uint64", "uint32",
    "uint8", "bool", "bool_", "RandomState", "Generator", "MT19937", "PCG64", "__randomstate_ctor", "__generator_ctor",
    "__bit_generator_ctor",
})  # fmt: skip
_BUILTINS = frozenset({
    "set", "frozenset", "complex", "bytearray", "range", "slice", "object", "int", "float", "str", "bool", "list", "dict",
    "tuple",
})  # fmt: skip
_ALSO = frozenset({"functools.partial", "copyreg._reconstructor", "operator.itemgetter"})


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data))
        self._sets: dict[int, tuple[Any, Any]] = {}  # with what stood for it, which its number is of

    def persistent_load(self, pid: Any) -> Any:
        return self._sets.setdefault(id(pid), (pid, {"set": set, "frozenset": frozenset}[pid[0]](pid[1])))[1]

    def find_class(self, module: str, name: str) -> Any:
        if _is_known(module, name):
            return super().find_class(module, name)
        if module.partition(".")[0] == "river":  # a method of a class, say; but nothing that River's modules merely import
            found = super().find_class(module, name)
            if str(getattr(found, "__module__", "")).partition(".")[0] == "river":
                return found
        raise pickle.UnpicklingError(f"{module}.{name} is no part of a River model")


def _is_known(module: str, name: str) -> bool:
    """Whether a pickle may name this. A name with a dot would lead anywhere from a harmless module: random._os.system."""
    root = module.partition(".")[0]
    if "." in name or (name.startswith("__") and name not in _NUMPY):
        return False
    if f"{module}.{name}" in _ALSO or (root == "numpy" and name in _NUMPY) or (module == "builtins" and name in _BUILTINS):
        return True
    return root in _ROOTS and not name.startswith("_")


class _Pickler(pickle.Pickler):
    """Writes what is in a model by value: nothing that Python or the system chose at random."""

    def __init__(self, out: io.BytesIO) -> None:
        super().__init__(out, _PROTOCOL)
        self._sets: dict[int, tuple[str, list[Any]]] = {}  # one set in two places stays one

    def persistent_id(self, obj: Any) -> Any:
        """A set is written as its sorted members: their order in memory follows Python's hash seed."""
        kind = type(obj)
        if kind is not set and kind is not frozenset:
            return None
        return self._sets.setdefault(id(obj), (kind.__name__, sorted(obj, key=lambda x: (type(x).__name__, repr(x)))))

    def reducer_override(self, obj: Any) -> Any:
        """River's distributions draw a seed of the system's for samples that learning never asks for: theirs becomes 0."""
        inside = getattr(obj, "__dict__", {})
        if isinstance(inside.get("_rng"), random.Random) and inside.get("seed", 0) is None:
            return copyreg.__newobj__, (type(obj),), {**inside, "_rng": random.Random(0)}  # type: ignore[attr-defined]  # noqa: S311
        return NotImplemented


def _loads(data: bytes) -> Any:
    return _Unpickler(data).load()


def _dumps(model: Any) -> bytes:
    out = io.BytesIO()
    _Pickler(out).dump(model)
    return out.getvalue()


@dataclass(frozen=True, eq=False)
class River:
    """A River classifier or regressor, alone or at the end of a pipeline.

        learner=hw.River(preprocessing.StandardScaler() | tree.HoeffdingTreeClassifier(), block=64)

    A question becomes a dictionary: numbers by the name of their feature, left out where missing; categories as texts, which
    stand for the value. A yes/no label is True or False.

    Args:
        model: The model; it is copied, and its parts must have seeds where they draw.
        block: Labels learnt at a time. 1 is River's own rhythm; each block costs three pickles of the model besides.
        bits: Categories are told apart by so many bits of their hash.

    Raises:
        DeclarationError: It is no such model, draws without a seed, or holds what is no part of River.
    """

    model: Any
    block: int = 64
    bits: int = 32
    loss: Literal["log", "squared"] = field(init=False)
    initial: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_shape(_WHERE, self.block, self.bits, 52)
        base = library("river.base", "river", _WHERE)
        last = list(self.model.steps.values())[-1] if hasattr(self.model, "steps") else self.model
        if not isinstance(last, base.Classifier | base.Regressor):
            raise DeclarationError("this is no model that can answer", where=_WHERE, expected="a River classifier or regressor",
                                   got=type(self.model).__name__)  # fmt: skip
        unseeded = _unseeded(self.model, base.Base)
        if unseeded:
            raise DeclarationError("a part of the model draws without a seed", where=_WHERE, got=unseeded,
                                   expected="seed=0, or any other number")  # fmt: skip
        object.__setattr__(self, "loss", "log" if isinstance(last, base.Classifier) else "squared")
        object.__setattr__(self, "initial", _checked(self.model))

    def describe(self) -> dict[str, Any]:
        return {
            "learner": "river/1", "model": hashlib.sha256(self.initial).hexdigest(), "block": self.block, "bits": self.bits,
            "loss": self.loss, "libraries": versioned("river"),
        }  # fmt: skip

    def start(self, numbers: tuple[str, ...], categories: tuple[str, ...]) -> RiverLearner:
        return RiverLearner(self, numbers, categories)


def _checked(model: Any) -> bytes:
    """The model's bytes, once they can be read back."""
    try:
        return _dumps(_loads(_dumps(model)))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise DeclarationError(
            f"this model cannot be kept ({error})", where=_WHERE, expected="parts of River",
            next_step="Functions and classes of your own need a learner of your own.",
        ) from error  # fmt: skip


def _unseeded(part: Any, base: type) -> str:
    """The name of the first part that has a seed and was given none; "" where all have one."""
    if isinstance(part, dict | list | tuple):
        values = part.values() if isinstance(part, dict) else part
        return next((found for value in values if (found := _unseeded(value, base))), "")
    if not isinstance(part, base):
        return ""
    inside = vars(part)
    return type(part).__name__ if inside.get("seed", 0) is None else _unseeded(inside, base)


class RiverLearner:
    """A `BlockLearner` over one River model."""

    def __init__(self, spec: River, numbers: tuple[str, ...], categories: tuple[str, ...]) -> None:
        self._loss, self._bytes, self._model = spec.loss, spec.initial, _loads(spec.initial)
        # Which names are one object with the model's own strings shows in its bytes: interned, it is always all of them.
        self._numbers, self._categories = tuple(map(sys.intern, numbers)), tuple(map(sys.intern, categories))

    def score_many(self, xs: Floats, cs: Ints) -> Floats:
        score = _probability if self._loss == "log" else _number
        return np.array([score(self._model, self._named(x, c)) for x, c in zip(xs, cs, strict=True)], np.float64)

    def learn_block(self, xs: Floats, cs: Ints, ys: Floats) -> None:
        check_block(xs, ys, self._loss)
        model = _loads(self._bytes)  # what scoring may have left in the other one is not learnt
        for x, c, y in zip(xs, cs, ys.tolist(), strict=True):
            model.learn_one(self._named(x, c), y >= 0.5 if self._loss == "log" else y)  # noqa: PLR2004 - yes or no
        self._bytes = _dumps(model)
        self._model = _loads(self._bytes)

    def _named(self, x: Floats, c: Ints) -> dict[str, float | str]:
        named: dict[str, float | str] = {name: v for name, v in zip(self._numbers, x.tolist(), strict=True) if v == v}  # noqa: PLR0124
        return named | {name: f"{v:x}" for name, v in zip(self._categories, c.tolist(), strict=True)}

    def state(self) -> LearnerState:
        return LearnerState(arrays={"pickle": np.frombuffer(self._bytes, np.uint8)})

    def load(self, state: LearnerState) -> None:
        data = state.arrays["pickle"].tobytes()
        try:
            self._bytes, self._model = data, _loads(data)
        except (pickle.UnpicklingError, EOFError, AttributeError, ImportError) as error:
            raise CorruptData(f"a River model cannot be read back ({error})", where=_WHERE) from error


def _probability(model: Any, x: dict[str, float | str]) -> float:
    try:
        said = model.predict_proba_one(x)
    except NotImplementedError:  # such a model says yes or no
        answer = model.predict_one(x)
        return 0.5 if answer is None else float(answer)
    return float(said.get(True, 0.0)) if said else 0.5


def _number(model: Any, x: dict[str, float | str]) -> float:
    said = model.predict_one(x)
    return 0.0 if said is None else float(said)
