"""F31 finds nothing in the code as it is, and finds what is planted in it."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from headwater.core.personal import Mask
from headwater.faults.secrets import REQUESTS, Secrets
from headwater.following.delivering import Delivery
from headwater.ingest import examine


def test_no_planted_value_is_said_anywhere(tmp_path: Path) -> None:
    outcome = Secrets().run(Secrets().expand(Random(5)), tmp_path)
    assert outcome.violations == []
    assert outcome.fired == len(REQUESTS)


def test_a_seed_makes_the_same_steps() -> None:
    assert Secrets().expand(Random(1)) == Secrets().expand(Random(1)) != Secrets().expand(Random(2))


@pytest.mark.parametrize("where", ["a listing of quarantine", "what is told of a handler", "the answer to"])
def test_what_is_said_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """Known-bad variants: listings that hide nothing, handlers that are quoted, reasons that quote values."""
    if where.startswith("a listing"):
        monkeypatch.setattr(Mask, "text", lambda _self, raw, _stream: raw)
    elif where.startswith("what is told"):
        monkeypatch.setattr(Delivery, "_said", lambda _self, error: str(error))
    else:
        monkeypatch.setattr(examine, "_kind", repr)
    outcome = Secrets().run(Secrets().expand(Random(5)), tmp_path)
    assert any(said.startswith(where) for said in outcome.violations), outcome.violations
