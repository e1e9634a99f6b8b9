"""F15 and F16, each way once; and what a schedule says where the guard is taken away."""

from __future__ import annotations

import io
from random import Random

import pyarrow as pa
import pyarrow.csv
import pytest

from headwater.core.errors import Untrusted
from headwater.faults.models import DAMAGE, WAYS, Misbehaving, Tampered
from headwater.registry import Catalog
from headwater.registry.catalog import _version
from headwater.serving.breaker import Breaker


@pytest.mark.parametrize("way", WAYS)
def test_a_model_that_misbehaves_is_answered_for(way, tmp_path):
    outcome = Misbehaving().run([{"way": way, "good": 0.25, "n_good": 2, "asked": 1 if way == "hangs" else 4}], tmp_path)
    assert outcome.violations == []
    assert outcome.fired


def test_models_run_apart_from_a_process_in_which_arrow_has_read_a_file(tmp_path):
    """It then holds a pipe, and closes it in every fork: where that fails, it ends the fork."""
    pa.csv.read_csv(io.BytesIO(b"a\n1\n"))
    outcome = Misbehaving().run([{"way": "throws", "good": 0.25, "n_good": 2, "asked": 4}], tmp_path)
    assert outcome.violations == []


@pytest.mark.parametrize("how", DAMAGE)
def test_a_version_that_was_exchanged_is_refused(how, tmp_path):
    outcome = Tampered().run([{"how": how, "versions": 3, "at": 1234, "bit": 3}], tmp_path)
    assert outcome.violations == []


def test_every_way_is_drawn():
    assert {Misbehaving().expand(Random(seed))[0]["way"] for seed in range(200)} == set(WAYS)
    assert {Tampered().expand(Random(seed))[0]["how"] for seed in range(200)} == set(DAMAGE)


def test_a_breaker_that_never_opens_is_caught(tmp_path, monkeypatch):
    monkeypatch.setattr(Breaker, "failed", lambda self, reason: setattr(self, "reason", reason))
    (said,) = Misbehaving().run([{"way": "throws", "good": 0.25, "n_good": 1, "asked": 4}], tmp_path).violations
    assert "the breaker had told of 0" in said


@pytest.mark.parametrize(("how", "guard"), [("unsigned", "_verified"), ("newest gone", "_check_heads")])
def test_a_guard_that_is_missing_is_caught(how, guard, tmp_path, monkeypatch):
    true = getattr(Catalog, guard)

    def blind(self, *arguments, **more):
        try:
            return true(self, *arguments, **more)
        except Untrusted:
            return _version(arguments[0][:-1]) if guard == "_verified" else None

    monkeypatch.setattr(Catalog, guard, blind)
    outcome = Tampered().run([{"how": how, "versions": 3, "at": 0, "bit": 0}], tmp_path)
    assert all(f"a version was opened that is {how}" in said for said in outcome.violations)
    assert outcome.violations
