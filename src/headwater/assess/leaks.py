"""Columns that know the label: filled in with the outcome, not before it.

Two signs. A column that alone tells the label almost perfectly on rows not learnt; "missing" counts as a value, so that a
column that is empty just where the label is 1 is found too; where labels come in runs, it has to tell the first row of a
run as well, which what is merely true of a run does not. And a column whose name speaks of an outcome, or of the
label, and that tells something: no statistic can know that a right answer was judged after it was given.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from headwater.assess.alone import Sample, judged, ranges_of, said_of, sample_of, straight_line, tells_changes, values_of
from headwater.assess.choices import Choices
from headwater.assess.columns import Form, Held
from headwater.assess.kinds import CATEGORY, USED, Kind
from headwater.assess.table import Table

PERFECT = 0.98
_AT_CHANGES = {"binary": 0.95, "multiclass": 0.8, "regression": 0.5}  # see `alone.tells_changes`
_RANGES = 256
_TELLING = {"binary": 0.6, "multiclass": 0.3, "regression": 0.2}
_MEASURE = {"binary": "AUC", "multiclass": "mean recall", "regression": "R2"}
_OUTCOMES = frozenset(
    ("label", "target", "outcome", "result", "truth", "actual", "correct", "incorrect", "wrong", "answered", "resolved",
     "resolution", "verdict", "chargeback", "refunded", "returned", "churned", "converted", "defaulted", "groundtruth")
)  # fmt: skip
_COMMON = frozenset(
    ("is", "has", "was", "the", "of", "a", "an", "in", "at", "to", "n", "num", "number", "count", "id", "type", "class",
     "value", "y", "label", "target", "flag")
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Leak:
    """A suspected leak.

    Attributes:
        column: Its name.
        strength: How well it alone tells the label; see `alone.tells`.
        why: The reason, as a clause.
    """

    column: str
    strength: float
    why: str


def leaks_of(table: Table, kinds: dict[str, Kind], choices: Choices) -> list[Leak]:
    """The suspected leaks among the columns that are used, strongest first. Columns to keep are not looked at."""
    looked = [n for n, k in kinds.items() if k.name in USED and n not in choices.keep and n != choices.key]
    sample = sample_of(table.label, len(looked))
    found = [_leak(table.columns[name], kinds[name], sample, choices) for name in looked]
    return sorted((leak for leak in found if leak), key=lambda leak: -leak.strength)


def _leak(held: Held, kind: Kind, sample: Sample, choices: Choices) -> Leak | None:
    if held.form is Form.WORDS:
        return None
    is_named = kind.name == CATEGORY or held.form is Form.TEXT
    groups = values_of(held, sample) if is_named else ranges_of(held, sample, _RANGES)
    said = said_of(sample, groups)
    strength = judged(sample, said)
    if sample.task == "regression" and held.form is Form.NUMBER:
        line = straight_line(held, sample)
        along = judged(sample, line)
        said, strength = (line, along) if along > strength else (said, strength)
    measure = f"{_MEASURE[sample.task]} {strength:.3f} alone"
    if strength >= PERFECT and tells_changes(sample, said) >= _AT_CHANGES[sample.task]:
        return Leak(held.name, strength, f"almost tells the label: {measure}")
    word = outcome_word(held.name, choices.label)
    if word and strength >= _TELLING[sample.task]:
        return Leak(held.name, strength, f"its name speaks of an outcome ({word}), and it tells much: {measure}")
    return None


def outcome_word(column: str, label: str) -> str:
    """The word in a column's name that speaks of an outcome, or that the label's name has too; "" without one.

    >>> outcome_word("strong_correct", "label"), outcome_word("fraud_amount", "is_fraud"), outcome_word("amount", "is_fraud")
    ('correct', 'fraud', '')
    """
    said = _words(column)
    shared = _words(label) - _COMMON
    return next(iter(sorted(said & (_OUTCOMES | shared))), "")


def _words(name: str) -> set[str]:
    return set(re.split(r"[\W_]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower())) - {""}
