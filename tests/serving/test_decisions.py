"""The decision log: grouped, bounded, counted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from headwater.serving.decisions import Decision, DecisionLog
from headwater.telemetry.metrics import Metrics

from .conftest import ROW, Site


def decision(n: int = 1) -> Decision:
    return Decision(1, "late", "late@5", ["k"] * n, [0.5] * n)


def test_records_share_a_commit_and_are_stored_before_closing() -> None:
    groups: list[list[Decision]] = []

    async def store(group: list[Decision]) -> None:
        groups.append(group)

    async def main() -> None:
        log = DecisionLog(store, Metrics(), linger_s=0.001)
        for _ in range(10):
            log.add(decision())
        assert log.pending == 10
        await log.close()
        assert log.pending == 0

    asyncio.run(main())
    assert [len(g) for g in groups] == [10]


@pytest.mark.parametrize(("bound", "error", "reason", "lost"), [(3, None, "full", 4), (100, OSError("x"), "OSError", 6)])
def test_losses_are_counted(bound: int, error: Exception | None, reason: str, lost: int) -> None:
    async def store(group: list[Decision]) -> None:
        if error:
            raise error

    async def main() -> Metrics:
        metrics = Metrics()
        log = DecisionLog(store, metrics, linger_s=0.001, pending_rows=bound)
        for _ in range(3):
            log.add(decision(2))
        await log.close()
        assert log.pending == 0
        return metrics

    page = asyncio.run(main()).page()[0].decode()
    assert f'headwater_decisions_lost_total{{reason="{reason}"}} {lost}.0' in page


def test_every_answer_of_predict_is_decided_and_kept(sites: Callable[..., Site]) -> None:
    kept: list[Decision] = []

    async def store(group: list[Decision]) -> None:
        kept.extend(group)

    site = sites(decisions=store)
    said = site.post("/predict/late", [ROW, {"flight_id": "f2"}]).json
    site.stop()
    (one,) = kept
    assert one.version == said["version"]
    assert one.keys == ["f1", "f2"]
    assert list(one.scores) == [p["score"] for p in said["predictions"]]
