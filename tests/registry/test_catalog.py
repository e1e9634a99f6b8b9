from __future__ import annotations

import sqlite3
from dataclasses import replace

import numpy as np
import pytest

from headwater.core import crashpoints
from headwater.core.errors import CorruptData, Fatal, WrongState
from headwater.registry import Catalog, Version
from headwater.registry.catalog import FILE_NAME

RECIPE = {"code": "c0de", "schema": "5c4e", "parameters": {"step": 0.1, "l2": 0.0}, "libraries": {"numpy": "2.4"}}


def version(catalog, line="late", seq=100, weights=(1.0, 2.0), **fields):
    sha256 = catalog.artifacts.put({"weights": np.array(weights)}, {"line": line, "seq": seq})
    given = {"recipe": RECIPE, "metrics": {"log_loss": 0.5}, **fields}
    return Version(line, seq, sha256, 1_000, "midnight", **given)


@pytest.fixture
def catalog(tmp_path):
    with Catalog(tmp_path / "registry") as opened:
        yield opened


def test_what_is_registered_is_found(catalog):
    made = version(catalog, parent="late@50", log_start=3, cost_core_s=1.5)
    assert catalog.register(made)
    assert catalog.get("late@100") == made
    assert made.name == "late@100"


def test_a_metric_without_a_finite_value_is_none(catalog):
    catalog.register(version(catalog, metrics={"auc": float("nan"), "log_loss": 0.5}))
    assert catalog.get("late@100").metrics == {"auc": None, "log_loss": 0.5}


def test_registering_again_is_no_operation_if_the_bytes_are_equal(catalog):
    made = version(catalog)
    assert catalog.register(made)
    assert not catalog.register(replace(made, cost_core_s=9.0))  # measured anew by a fold after a crash
    assert catalog.list() == [made]


def test_other_bytes_under_the_same_name_mean_that_the_fold_is_not_reproducible(catalog):
    made = version(catalog)
    catalog.register(made)
    with pytest.raises(Fatal, match=r"late@100: .*not reproducible; expected [0-9a-f]{64}; got [0-9a-f]{64}"):
        catalog.register(version(catalog, weights=(1.0, 2.1)))
    assert catalog.list() == [made]


def test_a_version_without_its_file_is_not_registered(catalog):
    with pytest.raises(CorruptData, match="missing"):
        catalog.register(replace(version(catalog), sha256="0" * 64))
    assert catalog.list() == []


def test_a_version_cannot_be_changed_from_outside(catalog, tmp_path):
    catalog.register(version(catalog))
    with (
        sqlite3.connect(tmp_path / "registry" / FILE_NAME) as outside,
        pytest.raises(sqlite3.IntegrityError, match="immutable"),
    ):
        outside.execute("UPDATE versions SET cost_core_s = 0")
    outside.close()


def test_names_and_their_beginnings(catalog):
    made = [version(catalog, line, seq) for line, seq in (("late", 100), ("late", 2000), ("lost", 7), ("late", 1001))]
    for v in made:
        catalog.register(v)
    assert [v.name for v in catalog.list()] == ["late@100", "late@1001", "late@2000", "lost@7"]
    assert [v.name for v in catalog.list("lost")] == ["lost@7"]
    assert catalog.lines() == ("late", "lost")
    assert catalog.get("late@100").seq == 100  # exact before beginning
    assert catalog.get("late").seq == 2000  # the newest of a line
    assert catalog.get("late@2").seq == 2000
    assert catalog.get(made[2].sha256[:12]).name == "lost@7"
    with pytest.raises(Fatal, match="more than one version is meant; got late@100, late@1001"):
        catalog.get("late@10")
    with pytest.raises(Fatal, match=r"laet@100: no such version. Did you mean late@100"):
        catalog.get("laet@100")
    with pytest.raises(Fatal, match=r"lats: no such line. Did you mean late"):
        catalog.list("lats")
    with pytest.raises(Fatal, match="no such version"):
        catalog.get("")


def test_readers_see_what_the_writer_registers_and_cannot_write(catalog, tmp_path):
    with Catalog(tmp_path / "registry", read_only=True) as reader:
        assert reader.list() == []
        made = version(catalog)
        catalog.register(made)
        assert reader.list() == [made]
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader.register(version(catalog, seq=5))


def test_a_reader_makes_nothing(tmp_path):
    with pytest.raises(WrongState, match="no version has been registered here"):
        Catalog(tmp_path / "registry", read_only=True)
    assert list(tmp_path.iterdir()) == []


def test_it_survives_being_reopened(tmp_path):
    with Catalog(tmp_path) as first:
        made = version(first)
        first.register(made)
    with Catalog(tmp_path) as second:
        assert second.list() == [made]
        assert second._db.execute("PRAGMA synchronous").fetchone() == (2,)
        assert second._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_crash_right_after_registering_keeps_it(catalog, tmp_path):
    class Crash(BaseException):
        pass

    def stop(name):
        if name == "registry.registered":
            raise Crash

    made = version(catalog)
    crashpoints.arm(stop)
    try:
        with pytest.raises(Crash):
            catalog.register(made)
    finally:
        crashpoints.arm(None)
    with Catalog(tmp_path / "registry") as again:
        assert not again.register(made)
        assert again.list() == [made]


def test_a_newer_format_is_refused_untouched(tmp_path):
    Catalog(tmp_path).close()
    outside = sqlite3.connect(tmp_path / FILE_NAME)
    outside.execute("PRAGMA user_version = 3")
    outside.close()
    before = (tmp_path / FILE_NAME).read_bytes()
    for read_only in (True, False):
        with pytest.raises(WrongState, match=r"expected format 2; got format 3"):
            Catalog(tmp_path, read_only=read_only)
    assert (tmp_path / FILE_NAME).read_bytes() == before


@pytest.mark.parametrize("read_only", [True, False])
def test_a_file_that_is_no_catalogue_is_corrupt(tmp_path, read_only):
    (tmp_path / FILE_NAME).write_bytes(b"not a database" * 100)
    with pytest.raises(CorruptData, match="catalogue cannot be read"):
        Catalog(tmp_path, read_only=read_only)


def test_a_difference_tells_recipe_metrics_and_weights(catalog):
    catalog.register(version(catalog, seq=1, weights=(3.0, 4.0)))
    recipe = {**RECIPE, "parameters": {"step": 0.2, "l1": 1}}
    catalog.register(version(catalog, seq=2, weights=(3.0, 5.0), recipe=recipe, metrics={"log_loss": 0.4, "auc": 0.7}))
    found = catalog.diff("late@1", "late@2")
    assert (found.a, found.b, found.same_bytes) == ("late@1", "late@2", False)
    assert found.recipe == {"parameters.l1": (None, 1), "parameters.l2": (0.0, None), "parameters.step": (0.1, 0.2)}
    assert found.metrics == {"auc": (None, 0.7), "log_loss": (0.5, 0.4)}
    (change,) = found.arrays
    assert (change.name, change.before, change.change, change.n_changed) == ("weights", 5.0, 1.0, 1)
    assert change.after == np.sqrt(34.0)


def test_arrays_that_cannot_be_compared_are_still_told(catalog):
    catalog.register(version(catalog, seq=1, weights=(3.0, 4.0)))
    catalog.register(version(catalog, seq=2, weights=(3.0,)))
    (change,) = catalog.diff("late@1", "late@2").arrays
    assert (change.before, change.after, change.change, change.n_changed) == (5.0, 3.0, None, None)


def test_a_version_does_not_differ_from_itself(catalog):
    catalog.register(version(catalog))
    found = catalog.diff("late", "late@100")
    assert found.same_bytes
    assert found.recipe == {}
    assert [change.change for change in found.arrays] == [0.0]
