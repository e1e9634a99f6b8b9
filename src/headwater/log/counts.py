"""What arrived from each source, as numbers that always add up.

For every source, rows appended = accepted + quarantined + duplicate + conflict; the numbers are stored in the transaction that
stores the rows, so that no crash comes between them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from headwater.core.batch import Batch
from headwater.core.schema import DEAD
from headwater.log.protocol import Counts, Verdict

_N_VERDICTS = len(Verdict)
_QUARANTINED = _N_VERDICTS  # the column after those of the verdicts, as in Counts


def tally(batch: Batch, verdict: npt.NDArray[np.uint8]) -> dict[str, Counts]:
    """What this batch adds to the counts of each source that occurs in it."""
    outcome = verdict.astype(np.int64)
    if DEAD in batch.names:
        dead = batch.rows_of(DEAD)
        outcome[dead[verdict[dead] == Verdict.ACCEPTED]] = _QUARANTINED
    width = _N_VERDICTS + 1
    cells = np.bincount(batch.source * np.int64(width) + outcome, minlength=width * len(batch.sources))
    table = cells.reshape(-1, width).tolist()
    return {source: Counts(*row) for source, row in zip(batch.sources, table, strict=True) if any(row)}


def added(left: Counts, right: Counts) -> Counts:
    return Counts(
        left.accepted + right.accepted,
        left.duplicate + right.duplicate,
        left.conflict + right.conflict,
        left.quarantined + right.quarantined,
    )
