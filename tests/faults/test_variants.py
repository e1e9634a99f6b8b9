"""The harness has teeth: mistakes planted in the real modules are caught. Here some of them, in `make faults` all."""

from __future__ import annotations

import pytest

from headwater.core.errors import Fatal
from headwater.faults import planting
from headwater.faults.planting import Caught, check, try_all
from headwater.faults.variants import VARIANTS, Variant

QUICK = ("state and offset in two commits", "lines that cannot be read are dropped")


def test_some_mistakes_are_caught():
    tried = try_all(0, [variant for variant in VARIANTS if variant.name in QUICK])
    assert len(tried) == len(QUICK)
    assert [one.name for one in tried if not one.caught] == []
    assert all("seed 0, number" in one.where for one in tried)


def test_a_schedule_that_is_violated_without_the_variant_too_does_not_count(monkeypatch):
    said = {"control": b'["a"]'}
    monkeypatch.setattr(planting, "_run", lambda asked: asked)
    monkeypatch.setattr(planting, "_said", lambda _what, asked: next(said[name] for name in said if name in asked))
    a, b = Caught("a", "m", caught=True, number=3), Caught("b", "m", caught=True, number=4)
    assert [one.caught for one in planting._credible([a, b], 0)] == [False, True]


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_each_variant_fits_the_code_and_changes_it(variant):
    check(variant)
    assert all(old != new for old, new in variant.edits)


def test_there_are_enough_of_them_with_names_of_their_own():
    assert len({variant.name for variant in VARIANTS}) == len(VARIANTS) >= 22


def test_a_variant_whose_text_is_gone_is_an_error():
    with pytest.raises(Fatal, match=r"does not fit the code any more.*got 0 times"):
        check(Variant("gone", "headwater.log.lmdb", (("no such text", "x"),), ("F7",)))
