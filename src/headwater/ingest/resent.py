"""Tells a resent event without a time of its own from one that contradicts its first telling.

Such an event's time is its arrival, so that sent again it differs from what is stored, by its time alone. The log calls it
a conflict; here the stored row is read back and the two are compared without their times.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from headwater.core.batch import Batch, Bools, Ints
from headwater.core.hashing import Hashes
from headwater.log.fingerprints import fingerprints
from headwater.log.protocol import EventLog, Receipt, Verdict


def settle_resent(log: EventLog, batch: Batch, receipt: Receipt) -> Receipt:
    """The receipt with `DUPLICATE` for each conflict that is only one of arrival.

    Cost: nothing without such rows; else one read of the stored ones, in order of `seq`.
    """
    rows = np.flatnonzero((receipt.verdict == Verdict.CONFLICT) & _arrived_untimed(batch))
    if not rows.size:
        return receipt
    verdict = receipt.verdict.copy()
    verdict[rows[_same(log, batch.take(rows), receipt.seq[rows])]] = Verdict.DUPLICATE
    return Receipt(verdict, receipt.seq, receipt.end)


def _arrived_untimed(batch: Batch) -> Bools:
    untimed: Bools = batch.time == batch.arrival // 1000
    return untimed


def _same(log: EventLog, rows: Batch, seqs: Ints) -> Bools:
    """bool[n]: row i says what the stored row at `seqs[i]` says, and neither had a time of its own."""
    told = _untimed(rows)
    same = np.zeros(rows.n, np.bool_)
    order = np.argsort(seqs, kind="stable")
    at = 0
    while at < order.size:
        before = at
        for chunk in log.read(int(seqs[order[at]])):
            stop = int(np.searchsorted(seqs[order], chunk.seq + chunk.batch.n))
            if stop == at:
                break  # the next one lies far ahead
            mine = order[at:stop]
            same[mine] = _matches(chunk.batch, seqs[mine] - chunk.seq, told[mine])
            at = stop
        if at == before:
            break  # dropped by retention: it stays a conflict
    return same


def _matches(stored: Batch, where: Ints, told: Hashes) -> Bools:
    unique, inverse = np.unique(where, return_inverse=True)
    first = stored.take(unique)
    result: Bools = (_untimed(first)[inverse] == told) & _arrived_untimed(first)[inverse]
    return result


def _untimed(batch: Batch) -> Hashes:
    return fingerprints(replace(batch, time=np.zeros(batch.n, np.int64))).payload
