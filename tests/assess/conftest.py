"""Small tables with known truth, written as files."""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

START = datetime(2024, 1, 1, tzinfo=UTC)


def moments(n, step_s=60):
    """ISO 8601 texts, a minute apart."""
    return [(START + timedelta(seconds=step_s * i)).strftime("%Y-%m-%dT%H:%M:%SZ") for i in range(n)]


def drifting(n=3000, seed=0):
    """A yes/no label that depends on x and on a shop; the sign of x turns half way."""
    rng = np.random.default_rng(seed)
    x, noise, shop = rng.normal(size=n), rng.normal(size=n), rng.integers(0, 5, n)
    z = np.where(np.arange(n) < n // 2, 2.0, -2.0) * x + np.array([-1.0, -0.5, 0.0, 0.5, 1.0])[shop]
    y = (rng.random(n) < 1 / (1 + np.exp(-z))).astype(int)
    return {
        "ts": moments(n), "x": [f"{v:.6f}" for v in x], "noise": [f"{v:.6f}" for v in noise],
        "shop": [f"shop-{s}" for s in shop], "label": y.tolist(),
    }  # fmt: skip


def save(path, table):
    """Write columns as a CSV file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(table)
        writer.writerows(zip(*table.values(), strict=True))
    return path


@pytest.fixture
def table():
    return drifting()


@pytest.fixture
def file(tmp_path, table):
    """The drifting table as a CSV file."""
    return save(tmp_path / "table.csv", table)


@pytest.fixture(scope="session")
def streams():
    """The folder of real streams that lies beside a checkout."""
    for folder in Path(__file__).resolve().parents:
        if (folder / "shared" / "data" / "elec2.csv.gz").is_file():
            return folder / "shared" / "data"
    return pytest.skip("there is no shared/data beside this checkout")
