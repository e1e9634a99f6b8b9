"""The page on exchange: its Python runs on exported versions, and its hash is the learner's."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

import headwater as hw
import headwater.cli.init
from headwater.app import App
from headwater.core.batch import frame
from headwater.learning.linear import category_salt
from headwater.learning.vectors import category_matrix
from headwater.log.protocol import Chunk
from headwater.registry import Catalog
from headwater.registry.exporting import export
from headwater.registry.portable import Portable, portable
from headwater.registry.probes import probes
from headwater.runtime.declared import load_app
from headwater.runtime.fold import Fold
from headwater.runtime.replay import merge, read_inputs
from headwater.runtime.versions import Registrar

from .markdown import DOCS, blocks, module, run

PAGE = DOCS / "exchange.md"
FILES = {"npz": "late.npz", "onnx": "late.onnx", "mlflow": "late-mlflow"}
NEEDED = {"onnx": ("onnx", "onnxruntime"), "mlflow": ("mlflow", "pandas")}


def newest(app: App, folder) -> Portable:
    """The last version of the line that the starter's sample gives."""
    batch, _ = merge(app, read_inputs(app, {}, [folder / "sample.jsonl"]))
    assert batch is not None
    with Catalog(folder / "registry") as catalog:
        registrar = Registrar(app, catalog)
        for due in Fold(app).step(Chunk(0, batch)).due:
            registrar.register(due)
        version = catalog.get("late")
        return portable(version, catalog.artifacts.get(version.sha256))


@pytest.fixture(scope="module")
def late(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exchange") / "orders"
    headwater.cli.init.init(folder)
    return newest(load_app(folder / "app.py"), folder), folder


@pytest.mark.parametrize("left_out", [set(), {"onnx", "mlflow"}], ids=["all formats", "numpy alone"])
def test_the_pages_python_runs_and_prints_what_is_shown(late, left_out, monkeypatch):
    model, folder = late
    monkeypatch.chdir(folder)
    missing = {to for to, names in NEEDED.items() if not all(map(find_spec, names))}
    if not left_out and missing:
        pytest.skip(f"needs headwater[{','.join(sorted(missing))}]")
    with module("exchange") as space:
        for to, path in FILES.items():
            if to not in left_out:
                export(model, to, folder / path, force=True, n=100)
        for block in blocks(PAGE):
            if block.language == "python" and not any(f"import {to}" in block.code for to in left_out):
                run(block, "docs/exchange.md", space)
        xs, cs = probes(model, 300, seed=2)
        with np.errstate(over="ignore"):
            np.testing.assert_allclose(space["load"]("late.npz")[1](xs, cs), model.score(xs, cs), rtol=0, atol=1e-15)


class Thing(hw.Event, key="name"):
    name: hw.Field[str]
    text: hw.Field[str | None]
    number: hw.Field[int | None]
    flag: hw.Field[bool | None]
    size: hw.Field[float | None]


THINGS = [
    Thing(name="1", text="", number=0, flag=True, size=0.0),
    Thing(name="2", text="a", number=-1, flag=False, size=-0.0),
    Thing(name="3", text="exactly8", number=2**63 - 1, flag=None, size=1.5),
    Thing(name="4", text="äöü 東京 and more", number=-(2**63), flag=True, size=-1e300),
    Thing(name="5", text=None, number=None, flag=False, size=None),
]


@pytest.mark.parametrize("fields", [("text",), ("number",), ("flag",), ("size",), ("text", "number"), ("size", "text", "flag")])
def test_the_pages_hash_is_the_learners(fields):
    category = hw.category(*(getattr(Thing, field) for field in fields))
    ours = category_matrix([category], frame(Thing.schema, THINGS), np.zeros(len(THINGS), np.int64), base=7, bits=16)[:, 0]
    header, salted = {"base": 7, "bits": 16}, {"salt": f"{int(category_salt(category.name)):016x}"}
    (code,) = [block.code for block in blocks(PAGE) if "def hashed" in block.code]
    with module("exchange_hash") as space:
        exec(code.split("shop = ")[0], space)
        assert [space["row"](header, salted, *(getattr(thing, f) for f in fields)) for thing in THINGS] == ours.tolist()
