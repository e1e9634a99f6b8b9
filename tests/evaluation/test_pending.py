"""The ring of waiting questions is a dictionary by key and a queue by age, whatever its size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.core.compiled import kernel
from headwater.evaluation import prequential as p
from headwater.evaluation.pending import Pending

LOOKED_AT = [0, 1, 2, 1023, 1024, 1025, 2**63, 2**64 - 1, 2**64 - 1024, 5 * 1024, 9 * 1024 + 1]
"""Many of them have the same home in an index of 1,024 places, also at its very end."""

steps = st.lists(
    st.one_of(
        st.sampled_from(LOOKED_AT), st.just("pop"), st.integers(1, 300).map(lambda n: ("reserve", n)), st.just("restore")
    ),
    max_size=80,
)


@kernel
def _push(index, known, rows, ints, key, value):
    r = (ints[p.HEAD] + ints[p.SIZE]) % rows.shape[0]
    h = p._probe(index, known, key)
    known[r] = key
    index[h] = r + 1
    rows[r, 0] = value
    ints[p.SIZE] += 1


@kernel
def _pop(index, known, rows, ints):
    r = ints[p.HEAD]
    p._forget(index, known, r)
    ints[p.HEAD] = (r + 1) % rows.shape[0]
    ints[p.SIZE] -= 1


@settings(max_examples=200)
@given(steps, st.integers(0, 255))
def test_it_is_a_queue_and_a_dictionary(script, head):
    ints = np.zeros(p.N_INTS, np.int64)
    ints[p.HEAD] = head
    ring, queue, newest = Pending(1, ints), [], {}
    for number, step in enumerate(script):
        if step == "pop":
            if queue:
                old, key = queue.pop(0)
                if newest.get(key) == old:
                    del newest[key]
                _pop(ring.index, ring.known, ring.rows, ints)
        elif step == "restore":
            held = ring.canonical()
            ring = Pending(1, ints)
            ring.restore(held["known"], held["rows"])
        elif isinstance(step, tuple):
            ring.reserve(step[1])
            assert ring.rows.shape[0] >= len(queue) + step[1]
        else:
            ring.reserve(1)
            _push(ring.index, ring.known, ring.rows, ints, np.uint64(step), float(number))
            queue.append((number, step))
            newest[step] = number
        assert ring.canonical()["rows"][:, 0].tolist() == [n for n, _ in queue]
        assert ring.canonical()["known"].tolist() == [k for _, k in queue]
        at = ring.find(np.array(LOOKED_AT, np.uint64))
        assert [int(ring.rows[r, 0]) if r >= 0 else None for r in at] == [newest.get(k) for k in LOOKED_AT]
        assert (ring.index > 0).sum() == len(newest)


def test_growth_keeps_order_and_marks_everything_dirty():
    ints = np.zeros(p.N_INTS, np.int64)
    ring = Pending(1, ints)
    for i in range(250):
        _push(ring.index, ring.known, ring.rows, ints, np.uint64(i), float(i))
    for _ in range(200):
        _pop(ring.index, ring.known, ring.rows, ints)
    assert not ring.reserve(200)
    for i in range(250, 450):
        _push(ring.index, ring.known, ring.rows, ints, np.uint64(i), float(i))
    assert ring.reserve(10)
    assert ring.rows.shape == (512, 1)
    assert ring.canonical()["rows"][:, 0].tolist() == list(range(200, 450))
    assert set(ring.dirty.tolist()) == {3}
    assert ring.find(np.array([449, 199], np.uint64)).tolist() == [249, -1]


def test_an_empty_ring_restores():
    ring = Pending(2, np.zeros(p.N_INTS, np.int64))
    ring.restore(np.zeros(0, np.uint64), np.zeros((0, 2)))
    assert ring.find(np.array([1], np.uint64)).tolist() == [-1]


@pytest.mark.parametrize("size", [256, 257])
def test_a_full_ring_is_found_whole(size):
    ring = Pending(1, np.zeros(p.N_INTS, np.int64))
    ring.restore(np.arange(size, dtype=np.uint64), np.arange(size, dtype=float)[:, None])
    assert ring.find(np.arange(size, dtype=np.uint64)).tolist() == list(range(size))
