"""Small histories made up for the frontier."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from headwater.assess.encoding import Encoded
from headwater.frontier.stream import Stream, stream_of

ROOT = Path(__file__).resolve().parents[2]


def history(n=3000, *, turn=None, task="binary", delay_ms=0, seed=0, classes=("no", "yes")):
    """An hour's rows: yes if two numbers have one sign (which no linear learner sees), the other way round after `turn`."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    x[rng.random(n) < 0.05, 2] = np.nan
    way = np.where(np.arange(n) < (n if turn is None else turn), 1.0, -1.0)
    margin = 3 * np.sign(x[:, 0] * x[:, 1]) * way
    y = margin + rng.normal(size=n) if task == "regression" else (rng.random(n) < 1 / (1 + np.exp(-margin))).astype(float)
    time = 1_700_000_000_000 + 1000 * np.arange(n)
    return Encoded(
        task, ("a", "b", "c"), ("kind",), (), x, (7 + rng.integers(0, 3, n))[:, None], y,
        classes if task != "regression" else (), time, time + delay_ms if delay_ms else time, None,
    )  # fmt: skip


WORLDS = ("stationary", "abrupt", "gradual", "recurring")


def world(kind, n=6000, seed=0, delay_ms=0):
    """As `history`, but what the sign of two numbers means changes at a half, over the middle third, or each sixth."""
    rng = np.random.default_rng(seed)
    encoded, at = history(n, seed=seed, delay_ms=delay_ms), np.arange(n) / n
    turned = {
        "stationary": np.zeros(n, bool), "abrupt": at >= 0.5, "gradual": rng.random(n) < np.clip(3 * at - 1, 0, 1),
        "recurring": (6 * at).astype(int) % 2 == 1,
    }[kind]  # fmt: skip
    encoded.y[turned] = 1.0 - encoded.y[turned]
    return encoded


@pytest.fixture(scope="session")
def stream() -> Stream:
    return stream_of(history())
