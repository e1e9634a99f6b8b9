"""A learner that was killed and refolds: what the one before it showed and the fold let go of must not stay in the view."""

from __future__ import annotations

import json

import numpy as np
import pytest

from headwater.core.clock import VirtualClock
from headwater.core.errors import DiskFull
from headwater.ingest.decode import Decoder, pieces
from headwater.ingest.limits import Limits
from headwater.ingest.shapes import Shapes
from headwater.log.memory import MemoryLog
from headwater.runtime.flags import PUBLISHED, UNSAVED, taken
from headwater.runtime.fold import Fold
from headwater.runtime.publishing import Publisher
from headwater.store.memory_view import MemoryView
from headwater.store.view import question_key

from .conftest import START_MS, events


@pytest.fixture
def log(app):
    """Two days of flights: questions of the first have expired at the end."""
    made, decoder = MemoryLog(), Decoder(Shapes(app.streams), Limits())
    for piece in pieces(b"\n".join(json.dumps(row).encode() for row in events(2880)), is_lines=True):
        made.append(decoder.window(piece, None, START_MS * 1000 + 10**12).batch)
    return made


def fold_to(fold, log, seq):
    for chunk in log.read(fold.seq):
        part = chunk.batch.slice(0, min(chunk.batch.n, seq - chunk.seq)) if seq > chunk.seq else None
        if part is None:
            return
        fold.step(type(chunk)(chunk.seq, part))


def waiting(fold):
    pending = fold.models["late"].pending
    return {question_key(0, int(key)) for key in np.unique(pending.known[pending.order()])}


def test_questions_that_expired_while_it_refolded_are_taken_down(app, log):
    view, clock = MemoryView(), VirtualClock()
    before = Fold(app)
    fold_to(before, log, 1000)
    Publisher(before, view, clock, resume=False).publish()
    assert set(view.questions()) == waiting(before)
    after = Fold(app)
    publisher = Publisher(after, view, clock, resume=True)
    assert not publisher.publish()  # behind what is shown: the old state stands
    fold_to(after, log, log.bounds()[1])
    assert publisher.publish()
    assert waiting(before) - waiting(after)
    assert set(view.questions()) == waiting(after)


def test_what_a_full_disk_kept_from_being_taken_down_is_taken_down_later(app, log, monkeypatch):
    view, fold = MemoryView(), Fold(app)
    publisher = Publisher(fold, view, VirtualClock(), resume=False)
    fold_to(fold, log, 1000)
    assert publisher.publish()

    def full(*_):
        raise DiskFull("no room")

    with monkeypatch.context() as patched:
        patched.setattr(view, "publish", full)
        fold_to(fold, log, log.bounds()[1] - 10)
        assert not publisher.publish()
    fold_to(fold, log, log.bounds()[1])
    assert publisher.publish()
    assert set(view.questions()) == waiting(fold)


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 1000, 4097])
@pytest.mark.parametrize("bit", [PUBLISHED, UNSAVED])
def test_flags_are_taken_in_order_and_the_other_bit_stays(n, bit):
    dirty = np.random.default_rng(n).integers(0, 4, n).astype(np.uint8)
    places, rest = np.flatnonzero(dirty & bit), dirty & (3 - bit)
    np.testing.assert_array_equal(taken(dirty, bit), places)
    np.testing.assert_array_equal(dirty, rest)
