"""The swap row's own oracle: it agrees with the kernel to the bit, and sees an answer that is off by one."""

from __future__ import annotations

import json

import numpy as np
from bench.paths.swap import _n_wrong
from bench.swapping import QUESTIONS, D, base_block, factor, questions, score

from headwater.learning.kernels import score_rows
from headwater.learning.linear import Linear


def _scores(seq: int, n: int) -> list[float]:
    block, rows, out = base_block() * factor(seq), questions(0)[:n], np.empty(n)
    stats, weights = block[: 4 * D].reshape(4, D), block[4 * D :]
    xs, slots = np.ascontiguousarray(rows[:, :D]), rows[:, D:].astype(np.int64)
    score_rows(weights, stats, xs, slots, Linear(bits=21).params(), out)
    return out.tolist()


def _body(seq: int, value: float) -> bytes:
    return json.dumps({"version": f"good@{seq}", "predictions": [{"score": value}]}).encode()


def test_plain_python_gives_the_kernels_bits():
    block, rows = base_block(), questions(0)
    for seq in (1, 77, 1000):
        plain = [score(block, seq, row[:D].tolist(), row[D:].astype(int).tolist()) for row in rows[:50]]
        assert plain == _scores(seq, 50)
    assert len(rows) == QUESTIONS


def test_an_answer_by_another_version_than_it_names_is_wrong():
    first, second = _scores(1, 1)[0], _scores(2, 1)[0]
    assert first != second
    right, wrong = (0, _body(2, second)), (0, _body(2, first))
    assert _n_wrong([right, right]) == (0, 1)
    assert _n_wrong([right, wrong, (0, _body(2, np.nextafter(second, 1.0)))]) == (2, 1)
