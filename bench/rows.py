"""All rows, in the order of the page."""

from __future__ import annotations

from bench.paths import compute, entities, ingest, live, predict, storage, swap
from bench.row import Row

ROWS: tuple[Row, ...] = (
    compute.LOOP, compute.LEARNER, compute.WINDOWS, ingest.INGEST, storage.LOG_READ, storage.ONLINE_READ, predict.ONE,
    predict.ARROW_ROW, swap.SWAP, live.FRESHNESS, live.RECOVERY,
    entities.ENTITIES_ROW,
)  # fmt: skip
SLUGS = tuple(slug for row in ROWS for slug in row.slugs)
