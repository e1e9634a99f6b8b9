"""A portable model as an ONNX graph in double precision, for ONNX Runtime and whatever else speaks it.

Inputs `numbers` double[n, d] (NaN where missing) and, where there are categories, `categories` int64[n, k], rows of
weights; output `score` double[n]. The graph adds in the learner's own order, in four lanes, so that only the exponential
can differ, by a last bit.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from headwater.core.batch import Floats, Ints
from headwater.core.errors import Fatal
from headwater.registry.portable import HUGE, Portable

OPSET = 17
IR_VERSION = 8  # of the same release: older runtimes read it
NUMBERS, CATEGORIES, SCORE = "numbers", "categories", "score"


def write(model: Portable, path: Path) -> None:
    """Write the checked graph; header entries are its metadata."""
    helper, checker = _onnx().helper, _onnx().checker
    graph = _Graph()
    graph.link(_predictor(graph, model), logistic=model.learner.loss == "log")
    kinds = _onnx().TensorProto
    inputs = [helper.make_tensor_value_info(NUMBERS, kinds.DOUBLE, ["n", len(model.numbers)])]
    if model.categories:
        inputs.append(helper.make_tensor_value_info(CATEGORIES, kinds.INT64, ["n", len(model.categories)]))
    output = helper.make_tensor_value_info(SCORE, kinds.DOUBLE, ["n"])
    made = helper.make_graph(graph.nodes, model.version.line, inputs, [output], graph.constants)
    proto = helper.make_model(
        made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="headwater"
    )
    helper.set_model_props(proto, {key: v if isinstance(v, str) else json.dumps(v) for key, v in model.header().items()})
    checker.check_model(proto, full_check=True)
    path.write_bytes(proto.SerializeToString())


def score(path: Path, xs: Floats, cs: Ints) -> Floats:
    """Scores of the written file, by ONNX Runtime on the processor."""
    session = _runtime().InferenceSession(str(path), providers=["CPUExecutionProvider"])
    given = {NUMBERS: xs, CATEGORIES: cs}
    scores: Floats = session.run([SCORE], {wanted.name: given[wanted.name] for wanted in session.get_inputs()})[0]
    return scores


class _Graph:
    """Nodes and constants of a graph being drawn up; every value has a name of its own."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._helper = _onnx().helper

    def constant(self, value: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(_onnx().numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(self, op: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        name = name or f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(self._helper.make_node(op, list(inputs), [name], **attributes))
        return name

    def columns(self, matrix: str, widths: list[int]) -> list[str]:
        """A matrix cut into matrices of so many columns."""
        if len(widths) == 1:
            return [matrix]
        at = len(self.nodes)
        names = [f"split{at}_{i}" for i in range(len(widths))]
        sizes = self.constant(np.array(widths, np.int64))
        self.nodes.append(self._helper.make_node("Split", [matrix, sizes], names, axis=1))
        return names

    def added(self, total: str, terms: list[str]) -> str:
        """Terms added one by one, from the left."""
        for term in terms:
            total = self.node("Add", total, term)
        return total

    def link(self, total: str, *, logistic: bool) -> None:
        """From the linear predictor, a column, to the output."""
        flat = self.node("Squeeze", total, self.constant(np.array([1], np.int64)))
        if logistic:
            one = self.constant(1.0)
            self.node("Div", one, self.node("Add", one, self.node("Exp", self.node("Neg", flat))), name=SCORE)
        else:
            self.node("Clip", flat, self.constant(-HUGE), self.constant(HUGE), name=SCORE)


def _predictor(g: _Graph, model: Portable) -> str:
    """The linear predictor, double[n, 1]: see `learning.kernels`."""
    d, w, base = len(model.numbers), model.weights, model.base
    is_there = g.node("LessOrEqual", g.node("Abs", NUMBERS), g.constant(HUGE))  # False for NaN
    total = _numbers(g, model, is_there) if d else g.node("ReduceSum", NUMBERS, g.constant(np.array([1], np.int64)), keepdims=1)
    total = total if d else g.node("Add", total, g.constant(w[0]))
    if d:
        absent = g.node("Where", is_there, g.constant(0.0), g.constant(w[1 + d : base]))
        total = g.added(total, g.columns(absent, [1] * d))
    if model.categories:
        none = g.constant(np.int64(0))
        is_row = g.node("GreaterOrEqual", CATEGORIES, none)  # negative: a text has no such word
        rows = g.node("Gather", g.constant(w), g.node("Where", is_row, CATEGORIES, none))
        rows = g.node("Where", is_row, rows, g.constant(0.0))
        total = g.added(total, g.columns(rows, [1] * len(model.categories)))
    return total


def _numbers(g: _Graph, model: Portable, is_there: str) -> str:
    """Intercept and standardised numbers, added in four lanes."""
    d, w = len(model.numbers), model.weights
    mean, scale, bound = model.scaling
    safe = g.node("Where", is_there, NUMBERS, g.constant(0.0))
    scaled = g.node("Mul", g.node("Sub", safe, g.constant(mean)), g.constant(scale))
    z = g.node("Where", is_there, g.node("Clip", scaled, g.constant(-bound), g.constant(bound)), g.constant(0.0))
    cuts = g.columns(g.node("Mul", z, g.constant(w[1 : 1 + d])), [4] * (d // 4) + [1] * (d % 4))
    total = g.constant(w[:1].reshape(1, 1))
    if d >= 4:  # noqa: PLR2004 - a lane for each of four
        a, b, c, e = g.columns(g.added(cuts[0], cuts[1 : d // 4]), [1] * 4)
        total = g.node("Add", total, g.node("Add", g.node("Add", a, b), g.node("Add", c, e)))
    return g.added(total, cuts[d // 4 :])


def _onnx() -> Any:
    try:
        import onnx  # noqa: PLC0415 - an extra
        import onnx.checker  # noqa: PLC0415
        import onnx.numpy_helper  # noqa: PLC0415
    except ImportError as error:
        raise _missing(error) from error
    return onnx


def _runtime() -> Any:
    try:
        import onnxruntime  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise _missing(error) from error
    return onnxruntime


def _missing(error: ImportError) -> Fatal:
    return Fatal(
        f"a library is missing ({error})",
        where="--to onnx",
        expected="onnx and onnxruntime",
        next_step="Install headwater[onnx].",
    )
