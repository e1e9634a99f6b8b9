"""export, streams describe: on versions of a real fold, as `headwater run` registers them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from headwater.cli import init, main
from headwater.evaluation.prequential import SCORES, SEQ
from headwater.log.protocol import Chunk
from headwater.registry import Catalog
from headwater.registry.exporting import export
from headwater.registry.portable import portable
from headwater.registry.probes import probes
from headwater.registry.scorer import load
from headwater.runtime.declared import load_app
from headwater.runtime.fold import Fold
from headwater.runtime.replay import merge, read_inputs
from headwater.runtime.versions import Registrar


@pytest.fixture(scope="module")
def orders(tmp_path_factory):
    """The app that `headwater init` writes, with the versions that its sample gives."""
    folder = tmp_path_factory.mktemp("orders")
    init.init(folder / "app")
    app = load_app(folder / "app" / "app.py")
    batch, _ = merge(app, read_inputs(app, {}, [folder / "app" / "sample.jsonl"]))
    assert batch is not None
    with Catalog(folder / "state" / "registry") as catalog:
        registrar = Registrar(app, catalog)
        for due in Fold(app).step(Chunk(0, batch)).due:
            registrar.register(due)
    return folder


@pytest.fixture
def refused(capsys):
    def call(*arguments):
        with pytest.raises(SystemExit) as left:
            main.run([str(a) for a in arguments])
        assert left.value.code == 1
        return " ".join(capsys.readouterr().err.replace("│", " ").split())

    return call


def test_a_version_is_exported_checked_and_scored_by_numpy_alone(done, orders, tmp_path):
    state, path = orders / "state", tmp_path / "late.npz"
    newest = done("versions", "late", "--state", state, "--json")[-1]["name"]
    said = done("export", "late", "--to", "npz", "--out", path, "--check", 300, "--seed", 4, "--state", state, "--json")
    assert (said["version"], said["format"], said["n"], said["seed"]) == (newest, "npz", 300, 4)
    assert said["difference"] <= 1e-15
    assert said["bytes"] == path.stat().st_size
    header, score = load(str(path))
    assert header["version"] == newest
    assert header["numbers"][0] == "order.distance_km"
    assert [c["name"] for c in header["categories"]] == ["category(order.shop)"]
    with Catalog(state / "registry", read_only=True) as catalog:
        version = catalog.get("late")
        ours = portable(version, catalog.artifacts.get(version.sha256))
    xs, cs = probes(ours, 200, seed=9)
    np.testing.assert_allclose(score(xs, cs), ours.score(xs, cs), rtol=0, atol=1e-15)


def test_an_exported_model_gives_the_answer_that_was_given(orders, tmp_path):
    """A version registered right before a question has the weights that scored it, on the vector that waits for its label."""
    app = load_app(orders / "app" / "app.py")
    batch, _ = merge(app, read_inputs(app, {}, [orders / "app" / "sample.jsonl"]))
    with Catalog(orders / "state" / "registry", read_only=True) as catalog:
        versions = catalog.list("late")
        assert len(versions) > 5
        for version in versions:
            export(portable(version, catalog.artifacts.get(version.sha256)), "npz", tmp_path / f"{version.seq}")
    fold = Fold(app)
    for version in versions:
        fold.step(Chunk(fold.seq, batch.slice(fold.seq, version.seq + 1)))
        line = fold.models["late"]
        asked = line.pending.rows[line.pending.order()[-1]]
        assert asked[SEQ] == version.seq
        vector = asked[SCORES + line.n_experts :]
        numbers, categories = vector[None, : line.n_numbers], vector[None, line.n_numbers :].astype(np.int64)
        scored = load(str(tmp_path / f"{version.seq}"))[1](numbers, categories)
        np.testing.assert_allclose(scored, asked[SCORES], rtol=0, atol=1e-15)


def test_people_are_told_what_was_checked(done, orders, tmp_path):
    out = done("export", "late", "--to", "npz", "--out", tmp_path / "late.npz", "--state", orders / "state")
    assert "1,000 vectors give the same scores; greatest difference" in out


def test_what_cannot_be_exported_says_why(done, refused, orders, state, tmp_path):
    known, out = ["--state", orders / "state"], ["--out", tmp_path / "out"]
    newest = done("versions", "late", "--state", orders / "state", "--json")[-1]["name"]
    said = refused("export", newest.replace("late", "laet"), "--to", "npz", *out, *known)
    assert "no such version" in said
    assert f"Did you mean {newest}" in said
    assert "Did you mean npz" in refused("export", "late", "--to", "nzp", *out, *known)
    assert "no version has been registered here" in refused("export", "late", "--to", "npz", *out, "--state", tmp_path / "none")
    assert "this version's learner cannot be exported" in refused("export", "late", "--to", "npz", *out, "--state", state)
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").write_text("mine")
    assert "there already" in refused("export", "late", "--to", "npz", *out, *known)
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.parametrize(("form", "holds"), [("json-schema", "$defs"), ("asyncapi", "channels"), ("avro", None)])
def test_streams_are_described_from_the_declaration(done, orders, tmp_path, form, holds):
    app, path = orders / "app" / "app.py", tmp_path / "streams.json"
    printed = json.loads(done("streams", "describe", app, "--format", form))
    assert (holds in printed) if holds else [record["name"] for record in printed] == ["delivery", "order"]
    assert f"order as {form}" in done("streams", "describe", app, "--format", form, "--out", path)
    assert json.loads(path.read_text()) == printed


def test_a_description_that_cannot_be_given_says_why(refused, orders, tmp_path):
    app, path = orders / "app" / "app.py", tmp_path / "there.json"
    path.write_text("mine")
    assert "there already" in refused("streams", "describe", app, "--out", path)
    assert path.read_text() == "mine"
    assert "Did you mean avro" in refused("streams", "describe", app, "--format", "avor")
    assert "there is no such file" in refused("streams", "describe", tmp_path / "none.py")
    assert "cannot be written" in refused("streams", "describe", app, "--out", tmp_path / "none" / "out.json")
