"""The answer to a request: what became of each event."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from headwater.core.batch import Bytes, Ints
from headwater.core.errors import nearest
from headwater.ingest.decode import Window
from headwater.ingest.letters import Bad, Letter
from headwater.ingest.shapes import Shapes
from headwater.log.protocol import Receipt, Verdict

WORDS = ("accepted", "duplicate", "quarantined")
_QUARANTINED = 2  # `Verdict.CONFLICT` too: the event itself is not stored
_SECONDS_BELOW_MS = 100_000_000_000  # as ms this is 1973, as seconds the year 5138

UNREADABLE = frozenset({"malformed_json", "invalid_utf8", "too_deep", "not_an_object"})

CONFLICT = Bad("conflict", "id: another payload with this source and id is stored already; the first one stands")


class Tally:
    """Adds up the verdicts of a request's windows, in order."""

    def __init__(self, shapes: Shapes, max_problems: int) -> None:
        self._shapes, self._max_problems = shapes, max_problems
        self._verdicts: list[Bytes] = []
        self._problems: list[dict[str, Any]] = []
        self._ignored: Counter[tuple[str, str]] = Counter()
        self._seq: list[int] = []
        self._counts = np.zeros(3, np.int64)
        self._n_in_1970 = 0
        self.end = 0
        self._codes: set[str] = set()

    def add(self, window: Window, receipt: Receipt) -> list[Letter]:
        """Count one committed window; returns letters for rows whose id is taken by another payload, still to be stored."""
        verdict = receipt.verdict.astype(np.uint8)
        conflicts = {i: window.refuse(i, CONFLICT) for i in self._conflicts(window, verdict)}
        verdict[list(window.letters)] = _QUARANTINED
        self._describe(window.letters | conflicts)
        self._counts += np.bincount(verdict, minlength=3)
        self._verdicts.append(verdict)
        accepted = receipt.seq[verdict == Verdict.ACCEPTED]
        if accepted.size:
            self._seq += [int(accepted[0]), int(accepted[-1])]
        self._ignored += window.ignored
        self._n_in_1970 += _in_1970(window.batch.time[window.first : window.first + window.n], verdict)
        self.end = max(self.end, receipt.end)
        return list(conflicts.values())

    @staticmethod
    def _conflicts(window: Window, verdict: Bytes) -> list[int]:
        rows: list[int] = np.flatnonzero(verdict == Verdict.CONFLICT).tolist()
        return [i for i in rows if i not in window.letters]

    @property
    def is_unreadable(self) -> bool:
        """Whether not one event could be told apart, or an Arrow stream breaks off."""
        return "not_arrow" in self._codes or (bool(self._codes) and self._codes <= UNREADABLE and not self._counts[:2].any())

    def _describe(self, letters: dict[int, Letter]) -> None:
        first = sum(v.size for v in self._verdicts)
        for i in sorted(letters):
            self._codes.add(letters[i].code)
            if len(self._problems) < self._max_problems:
                found = {"row": first + i, "verdict": WORDS[2], "code": letters[i].code, "reason": letters[i].reason}
                self._problems.append(found)

    def content(self, *, each: bool) -> dict[str, Any]:
        """The members of the answer.

        Args:
            each: With the verdict of every event, in order, as `verdicts`.
        """
        counts: dict[str, Any] = dict(zip(WORDS, self._counts.tolist(), strict=True))
        content = {**counts, "seq": [self._seq[0], self._seq[-1]] if self._seq else None, "end": self.end}
        if self._problems:
            content["problems"] = self._problems
        if left := counts["quarantined"] - len(self._problems):
            content["problems_left_out"] = left
        if warnings := self._warnings():
            content["warnings"] = warnings
        if each:
            content["verdicts"] = [WORDS[v] for part in self._verdicts for v in part.tolist()]
        return content

    def _warnings(self) -> list[dict[str, Any]]:
        warnings = []
        for (stream, member), n in self._ignored.most_common(20):
            known = self._shapes.by_stream[stream].members
            text = f"stream {stream} has no field {member[:100]}; it was ignored. {nearest(member[:100], known)}"
            warnings.append({"code": "unknown_field", "events": n, "text": text})
        if self._n_in_1970:
            text = "time lies between 1970 and 1973; integers are milliseconds since 1970, these look like seconds"
            warnings.append({"code": "time_in_seconds", "events": self._n_in_1970, "text": text})
        return warnings


def _in_1970(time: Ints, verdict: Bytes) -> int:
    return int(((time >= 0) & (time < _SECONDS_BELOW_MS) & (verdict != _QUARANTINED)).sum())
