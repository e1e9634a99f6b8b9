"""Timing on the matrix: the oracle is exact, answers come from the version that was there."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from headwater.frontier import lag, timing
from headwater.frontier.matrix import Matrix, Setting
from headwater.learning.forest import Forest


def stream_like(points=8, first=2, rows=20):
    n = points * rows
    edges = np.arange(points + 1) * rows
    time = 1000 * np.arange(n)
    table = SimpleNamespace(order=np.arange(n), ready=np.arange(n), label=np.zeros(n), unchanged=np.full(n, 0.5))
    return SimpleNamespace(
        n=n, n_points=points, first=first, edges=edges, time_ms=time, known_ms=time, rows=table, absolute=True,
        known_at=lambda point: np.arange(edges[point]),
    )  # fmt: skip


def matrix_like(stream, seed=0):
    rng = np.random.default_rng(seed)
    n = stream.n_points
    loss = np.where(np.arange(n)[None] >= np.arange(n)[:, None], rng.random((n, n)), np.nan)
    forests = [None] * stream.first + [constant(float(i)) for i in range(stream.first, n)]
    live = stream.edges[:-1] + 5
    return Matrix(Setting(1.0, 1, 1), np.zeros((stream.n, 1)), forests, np.ones(n), live, loss, 0.0)


def constant(value):
    none = np.zeros(0, np.int16)
    return Forest(np.array([~0], np.int16), none, np.zeros(0), np.zeros((0, 2), np.int16), none, np.array([value]))


@pytest.mark.parametrize("n_updates", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("seed", range(4))
def test_the_oracle_is_the_best_of_all_schedules(n_updates, seed):
    stream = stream_like()
    matrix = matrix_like(stream, seed)
    found = timing.oracle(stream, matrix, n_updates)
    assert found[0] == stream.first
    assert len(found) <= n_updates
    others = range(stream.first + 1, stream.n_points)
    best = min(
        timing.total(stream, matrix, np.array([stream.first, *later]))
        for k in range(n_updates)
        for later in itertools.combinations(others, k)
    )
    assert timing.total(stream, matrix, found) == pytest.approx(best)


def test_a_version_answers_only_once_it_is_ready():
    stream = stream_like()
    matrix = matrix_like(stream)
    answers = matrix.answers(stream, timing.versions_of(stream, np.array([2, 4])))
    assert set(answers[:45]) == {0.5}
    assert set(answers[45:85]) == {2.0}
    assert set(answers[85:]) == {4.0}


def test_periods_and_the_gap():
    stream = stream_like()
    matrix = matrix_like(stream)
    assert timing.periodic(stream, 3).tolist() == [2, 5]
    assert timing.periodic(stream, 3, 1).tolist() == [2, 4, 7]
    assert timing.always(stream).tolist() == [2, 3, 4, 5, 6, 7]
    assert timing.gap_closed(stream, matrix, timing.oracle(stream, matrix, 3)) == pytest.approx(1.0)


def test_a_label_waits_until_a_version_has_learnt_it():
    stream = stream_like()
    assert lag.at_once(stream) == 1000.0
    assert lag.by_versions(stream, [(45, 40)]) == np.median(1000 * (159 - np.arange(40, 160)))
    every = [(int(edge) + 5, int(edge)) for edge in stream.edges[2:-1]]
    assert 5_000 < lag.by_versions(stream, every) < 30_000


def test_the_probe_has_a_model_refitted_that_has_lost_its_advantage():
    stream = stream_like(points=12, first=1, rows=100)
    matrix = matrix_like(stream)
    matrix.loss[:] = np.where(np.arange(12)[None] - np.arange(12)[:, None] < 4, 10.0, 60.0)
    updates = timing.ski_rental(stream, matrix, np.full(12, 50.0), price=0.5)
    assert updates.tolist() == [1, 6, 11]
