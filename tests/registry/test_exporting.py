"""A version for other programs: every format scores as the learner does, and one that would not is never left behind."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest

from headwater.core.errors import CorruptData, Fatal
from headwater.learning.classes import OTHER, Softmax
from headwater.learning.linear import Linear, base_of
from headwater.registry import Artifact, Version
from headwater.registry import npz as npz_format
from headwater.registry.exporting import FORMATS, export
from headwater.registry.portable import HUGE, Portable, portable
from headwater.registry.portable_classes import PortableClasses
from headwater.registry.probes import probes
from headwater.registry.scorer import load

NEEDED = {"npz": ("numpy",), "onnx": ("onnx", "onnxruntime"), "mlflow": ("mlflow", "pandas")}
WAYS = [
    (Linear(bits=6), 1, 1),
    (Linear(bits=6), 4, 0),
    (Linear(bits=6), 9, 3),
    (Linear(bits=6), 0, 2),
    (Linear(bits=6, loss="squared"), 6, 1),
    (Linear(bits=6, standardize=False), 5, 1),
    (Linear(bits=6, loss="squared", clip_z=np.inf), 3, 0),
]


def model(learner, n_numbers, n_categories, seed=1):
    """A line with weights of all sizes, and a number that never varied."""
    chance = np.random.default_rng(seed)
    variance = chance.uniform(0.1, 50, n_numbers) * (np.arange(n_numbers) != 2)
    scale = np.divide(1, np.sqrt(variance), out=np.zeros(n_numbers), where=variance > 0)
    stats = np.array([np.full(n_numbers, 40.0), chance.normal(0, 30, n_numbers), variance, scale]).reshape(4, n_numbers)
    weights = chance.normal(0, 1, base_of(n_numbers) + (1 << learner.bits)) * (chance.random() < 0.9)
    names = (
        tuple(f"number {i}" for i in range(n_numbers)),
        tuple(f"category(c{i})" if i < 2 else f"words(t)[{i - 2}]" for i in range(n_categories)),
    )
    return Portable(Version("late", 36, "0" * 64, 0, "once"), learner, *names, weights, stats)


def stored(made):
    """The model as a registered version and its file hold it."""
    hashed = made.weights[made.base :]
    at = np.flatnonzero(hashed)
    recipe = {"model": {"learner": made.learner.describe(), "numbers": [*made.numbers], "categories": [*made.categories]}}
    arrays = {"dense": made.weights[: made.base], "hashed_at": at.astype(np.int32), "hashed": hashed[at], "stats": made.stats}
    return replace(made.version, recipe=recipe), Artifact(arrays, {})


@pytest.fixture(params=FORMATS)
def to(request):
    missing = [library for library in NEEDED[request.param] if find_spec(library) is None]
    if missing:
        pytest.skip(f"--to {request.param} needs headwater[{request.param}]: no {', '.join(missing)} here")
    return request.param


@pytest.mark.parametrize("way", WAYS, ids=lambda way: f"{way[0].loss}-{way[1]}-{way[2]}")
def test_the_exported_model_gives_the_same_scores(to, way, tmp_path):
    done = export(model(*way), to, tmp_path / "out", n=400)
    assert done.difference <= 4e-16  # the last bit of an exponential
    assert done.n == 400
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert done.bytes > 0


def test_probes_try_what_is_rare():
    made = model(Linear(bits=6), 5, 2)
    made.weights[made.base + 3 :] = 0.0
    xs, cs = probes(made, 500, seed=0)
    assert np.isnan(xs).any(axis=0).all()
    assert {np.inf, -np.inf, HUGE, 5e-324} <= set(xs.ravel())
    assert np.any(np.abs(xs) > HUGE)
    seen = made.weights[cs] != 0.0
    assert 0.3 < seen.mean() < 0.8
    assert cs.min() >= made.base
    assert cs.max() < made.weights.size


def test_a_version_is_read_as_it_was_stored():
    made = model(Linear(bits=6, loss="squared"), 3, 2)
    again = portable(*stored(made))
    np.testing.assert_array_equal(again.weights, made.weights)
    np.testing.assert_array_equal(again.stats, made.stats)
    assert (again.learner, again.numbers, again.categories) == (made.learner, made.numbers, made.categories)


@pytest.mark.parametrize(
    ("recipe", "got"), [({}, "names no learner"), ({"model": {"learner": {"learner": "trees/1"}}}, "trees/1")]
)
def test_a_version_of_an_unknown_learner_is_refused(recipe, got):
    version, file = stored(model(Linear(bits=6), 2, 0))
    with pytest.raises(Fatal, match=f"late@36: .*cannot be exported; expected linear/2; got .*{got}"):
        portable(replace(version, recipe=recipe), file)


@pytest.mark.parametrize(
    "broken",
    [
        {"dense": np.zeros(2)},
        {"stats": np.zeros((4, 7))},
        {"hashed_at": np.array([1 << 20], np.int32), "hashed": np.ones(1)},
    ],
)
def test_arrays_that_do_not_fit_the_recipe_are_refused(broken):
    version, file = stored(model(Linear(bits=6), 3, 1))
    with pytest.raises(CorruptData, match="late@36: this version does not hold"):
        portable(version, Artifact({**file.arrays, **broken}, {}))


def test_an_export_with_other_scores_is_deleted_and_what_was_there_stays(tmp_path, monkeypatch):
    made, path = model(Linear(bits=6), 4, 1), tmp_path / "late.npz"
    export(made, "npz", path)
    before = path.read_bytes()
    write = npz_format.write

    def a_little_wrong(given, part):
        weights = given.weights.copy()
        weights[0] += 1e-6
        write(replace(given, weights=weights), part)

    monkeypatch.setattr(npz_format, "write", a_little_wrong)
    for where in (path, tmp_path / "other.npz"):
        with pytest.raises(Fatal, match=r"late@36: the exported model gives other scores.*at most 1e-09; got"):
            export(made, "npz", where, force=True)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_scores_that_are_no_numbers_are_no_agreement(tmp_path, monkeypatch):
    monkeypatch.setattr(npz_format, "score", lambda path, xs, cs: np.full(len(xs), np.nan))
    with pytest.raises(Fatal, match="got nan"):
        export(model(Linear(bits=6), 4, 1), "npz", tmp_path / "late.npz")
    assert not list(tmp_path.iterdir())


def test_what_is_there_is_kept_unless_forced(to, tmp_path):
    path = tmp_path / "out"
    path.write_text("mine")
    with pytest.raises(Fatal, match="there already"):
        export(model(Linear(bits=6), 2, 1), to, path)
    assert path.read_text() == "mine"
    export(model(Linear(bits=6), 2, 1), to, path, force=True)
    assert path.is_dir() or path.read_bytes() != b"mine"
    export(model(Linear(bits=6), 3, 1), to, path, force=True)
    assert [there.name for there in tmp_path.iterdir()] == ["out"]


def test_a_folder_that_is_no_exported_model_is_never_replaced(to, tmp_path):
    (tmp_path / "mine").write_text("mine")
    for path in (tmp_path, tmp_path / "..", tmp_path / "."):
        with pytest.raises(Fatal, match="this folder is no exported model"):
            export(model(Linear(bits=6), 2, 1), to, path, force=True)
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_format_that_is_not_known_gets_the_nearest(tmp_path):
    with pytest.raises(Fatal, match=r"no such format; expected npz, onnx, mlflow; got onx\. Did you mean onnx"):
        export(model(Linear(bits=6), 2, 1), "onx", tmp_path / "out")


def test_a_folder_that_is_not_there_is_said(tmp_path):
    with pytest.raises(Fatal, match="there is no such folder"):
        export(model(Linear(bits=6), 2, 1), "npz", tmp_path / "nowhere" / "out")


@pytest.mark.parametrize(("to", "module"), [("onnx", "onnx"), ("onnx", "onnxruntime"), ("mlflow", "mlflow")])
def test_a_missing_library_says_what_to_install(to, module, tmp_path, monkeypatch):
    if module == "onnxruntime":
        pytest.importorskip("onnx", reason="--to onnx needs headwater[onnx]")
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(Fatal, match=rf"a library is missing.*Install headwater\[{to}\]"):
        export(model(Linear(bits=6), 2, 1), to, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_onnx_states_opset_precision_and_where_it_comes_from(tmp_path):
    onnx = pytest.importorskip("onnx", reason="--to onnx needs headwater[onnx]")
    pytest.importorskip("onnxruntime", reason="--to onnx needs headwater[onnx]")
    made = model(Linear(bits=6), 5, 2)
    export(made, "onnx", tmp_path / "late.onnx", n=10)
    proto = onnx.load(tmp_path / "late.onnx")
    assert [(o.domain, o.version) for o in proto.opset_import] == [("", 17)]
    double = onnx.TensorProto.DOUBLE
    assert {c.data_type for c in proto.graph.initializer} <= {double, onnx.TensorProto.INT64}
    assert proto.graph.output[0].type.tensor_type.elem_type == double
    told = {entry.key: entry.value for entry in proto.metadata_props}
    assert told["version"] == "late@36"
    assert json.loads(told["numbers"]) == list(made.numbers)


def test_mlflow_has_a_signature_and_no_pickle(tmp_path):
    if find_spec("mlflow") is None:
        pytest.skip("--to mlflow needs headwater[mlflow]")
    made = model(Linear(bits=6), 3, 1)
    export(made, "mlflow", tmp_path / "late", n=10)
    from mlflow.models import Model  # noqa: PLC0415 - not before its warnings are kept off

    signature = Model.load(tmp_path / "late").signature
    assert signature.inputs.input_names() == [*made.numbers, *made.categories]
    assert [str(kind) for kind in signature.inputs.input_types()] == ["DataType.double"] * 3 + ["DataType.long"]
    assert signature.outputs.input_names() == ["score"]
    assert not [path for path in (tmp_path / "late").rglob("*") if path.suffix in {".pkl", ".pickle"}]


def classes(n_numbers, n_categories, *, standardize=True, seed=1):
    """A line of four classes, of which one was never met."""
    plain = model(Linear(bits=6, standardize=standardize), n_numbers, n_categories, seed)
    weights = np.random.default_rng(seed).normal(0, 1, (plain.weights.size, 4))
    weights[plain.base + 7 :] = 0.0
    learner = Softmax(classes=3, bits=6, standardize=standardize)
    met, names = np.array([0, 5, 900, 20]), (OTHER, "sun", "雪", 'a"b')
    return PortableClasses(plain.version, learner, plain.numbers, plain.categories, weights, plain.stats, met, names)


@pytest.mark.parametrize("way", [(4, 3), (0, 2), (3, 0)])
def test_several_classes_score_the_same_by_numpy_alone(way, tmp_path):
    made = classes(*way)
    done = export(made, "npz", tmp_path / "out.npz", n=400)
    assert done.difference <= 1e-12
    header, score = load(str(tmp_path / "out.npz"))
    assert header["classes"] == list(made.classes)
    shares = score(*probes(made, 50, seed=3))
    assert (shares[:, 0] == 0.0).all()
    np.testing.assert_allclose(shares.sum(axis=1), 1 - 1 / (2 + 925), rtol=1e-12)


@pytest.mark.parametrize("to", ["onnx", "mlflow"])
def test_several_classes_in_another_format_are_refused(to, tmp_path):
    with pytest.raises(Fatal, match=f"exported as npz only; expected --to npz; got {to}"):
        export(classes(2, 1), to, tmp_path / "out")
    assert not list(tmp_path.iterdir())
