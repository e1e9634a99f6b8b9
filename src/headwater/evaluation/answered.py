"""Which scores ever get a label: a model that decides which labels come may be wrong for ever where none does.

Who is refused a loan never shows whether he would have paid. Prequential metrics cannot tell: they judge what was labelled.
So questions and first labels are counted by the score that the question had, in ten equal ranges, and a range that is asked
about and never answered is named.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from headwater.core.batch import Floats, Ints

RANGES = 10
_FEWEST = 20  # questions in a range before its share says anything
_BLIND = 0.05  # of the share of labels in the range that has most
_EXPLORED = 0.25  # of that share: who lets so many through by chance is not to be warned ...
_CHANCE = 1e-4  # ... more often than this


class Answered:
    """Questions and first labels by score.

    Attributes:
        counts: int64[2, 10]: asked, and labelled by an event. Labels that stand for silence are none.
    """

    def __init__(self) -> None:
        self.counts: Ints = np.zeros((2, RANGES), np.int64)

    def ask(self, scores: Floats) -> None:
        """Count questions by their scores, probabilities."""
        self.counts[0] += _ranges(scores)

    def label(self, scores: Floats) -> None:
        """Count first labels by the scores that their questions had."""
        self.counts[1] += _ranges(scores)

    def report(self) -> dict[str, Any]:
        """The counts by range, how many ranges are blind, and what to say of them ("" where all is well)."""
        asked, labelled = self.counts.tolist()
        ranges = blind(self.counts)
        return {"asked": asked, "labelled": labelled, "blind": len(ranges), "warning": warning(ranges)}


def _ranges(scores: Floats) -> Ints:
    at = np.minimum((scores[np.isfinite(scores)] * RANGES).astype(np.int64), RANGES - 1)
    return np.bincount(np.maximum(at, 0), minlength=RANGES)


def blind(counts: Ints) -> list[int]:
    """Ranges that have next to no labels beside the range that has most of them, and hardly by chance.

    Neighbours that have next to none are taken together. How likely so few labels are, were a quarter of the best share
    labelled, is bounded by Chernoff's exp(-n KL(share, quarter)): with none at all it takes 33 questions, where every one of
    the best range has its label.
    """
    asked, labelled = counts
    share = labelled / np.maximum(asked, 1)
    best = float(share[asked >= _FEWEST].max(initial=0.0))
    is_dark = share < _BLIND * best
    run = np.cumsum(np.diff(is_dark, prepend=False))  # odd in a run of dark ranges, another for each
    n, n_labelled = (np.bincount(run, part)[run] for part in (asked, labelled))
    is_chance = np.exp(-n * _divergence(n_labelled / np.maximum(n, 1), _EXPLORED * best)) > _CHANCE
    return np.flatnonzero(is_dark & (asked > 0) & ~is_chance).tolist()


def _divergence(share: Floats, of: float) -> Floats:
    """Kullback and Leibler's, of yes/no with these shares from yes/no with the share `of`, in nats."""
    if of <= 0.0:
        return np.zeros_like(share)
    yes = share * np.log(np.maximum(share, 1e-300) / of)
    return yes + (1.0 - share) * np.log((1.0 - share + 1e-300) / (1.0 - of))


def warning(ranges: list[int]) -> str:
    """What an operator should know of blind ranges.

    >>> warning([8, 9])
    'no labels come for scores of 0.8-1.0: it cannot learn there; let some of those questions through, chosen by chance'
    """
    if not ranges:
        return ""
    spans: list[list[int]] = []
    for at in ranges:
        if spans and spans[-1][1] == at:
            spans[-1][1] = at + 1
        else:
            spans.append([at, at + 1])
    told = ", ".join(f"{low / RANGES:.1f}-{high / RANGES:.1f}" for low, high in spans)
    return f"no labels come for scores of {told}: it cannot learn there; let some of those questions through, chosen by chance"
