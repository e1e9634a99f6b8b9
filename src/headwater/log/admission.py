"""From a batch to what is stored of it and what its sender is told; the same for every engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headwater.core.batch import Batch, Ints
from headwater.core.codec import encode
from headwater.log.chunks import MAX_ROWS
from headwater.log.dedupe import DedupeIndex
from headwater.log.fingerprints import Fingerprints, fingerprints
from headwater.log.protocol import Receipt, Verdict


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """At most `MAX_ROWS` rows, hashed and encoded before any lock is taken."""

    batch: Batch
    prints: Fingerprints
    payload: bytes


@dataclass(frozen=True, slots=True, eq=False)
class Admission:
    """What became of a candidate. `batch` holds its accepted rows, `payload` their encoding."""

    verdict: npt.NDArray[np.uint8]
    seq: Ints
    batch: Batch
    payload: bytes


def candidates(batch: Batch) -> list[Candidate]:
    """Cut a batch into chunks-to-be."""
    if batch.n <= MAX_ROWS:
        return [_candidate(batch)]
    return [_candidate(batch.slice(at, min(at + MAX_ROWS, batch.n))) for at in range(0, batch.n, MAX_ROWS)]


def _candidate(batch: Batch) -> Candidate:
    return Candidate(batch, fingerprints(batch), encode(batch))


def admit(candidate: Candidate, index: DedupeIndex, floor: int, seq: int) -> Admission:
    """Decide on each row; accepted rows get the seqs from `seq` on and are staged in the index."""
    verdict, seqs = index.admit(candidate.prints, floor, seq)
    rows = np.flatnonzero(verdict == Verdict.ACCEPTED)
    if rows.size == candidate.batch.n:
        return Admission(verdict, seqs, candidate.batch, candidate.payload)
    accepted = candidate.batch.take(rows)
    return Admission(verdict, seqs, accepted, encode(accepted) if accepted.n else b"")


def receipt(parts: Sequence[Admission], end: int) -> Receipt:
    """The answer to the sender of the whole batch."""
    if not parts:
        return Receipt(np.zeros(0, np.uint8), np.zeros(0, np.int64), end)
    return Receipt(np.concatenate([p.verdict for p in parts]), np.concatenate([p.seq for p in parts]), end)
