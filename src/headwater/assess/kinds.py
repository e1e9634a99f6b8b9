"""What each column is: a number, a category, a text, or nothing to learn from.

Integers become categories where their name says that they are names (`user_id`, `zip`), or where they behave so: many
different values that come again and again, and that tell the label better one by one than as ranges.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from headwater.assess.alone import Sample, ranges_of, sample_of, tells, values_of
from headwater.assess.choices import Choices
from headwater.assess.columns import Form, Held
from headwater.assess.table import Table

NUMBER, CATEGORY, TEXT, IDENTIFIER, CONSTANT, EMPTY, TIME = (
    "number", "category", "text", "identifier", "constant", "empty", "time",
)  # fmt: skip
USED = (NUMBER, CATEGORY, TEXT)
FIRST_PART = 0.2  # of the rows; what is decided by labels is decided here, and scores are of the rest


@dataclass(frozen=True, slots=True)
class Kind:
    """What a column is.

    Attributes:
        name: One of number, category, text (used), identifier, constant, empty, time (not used).
        why: Where it is not obvious, as a clause; else "".
    """

    name: str
    why: str = ""


_NAMES = re.compile(
    r"(?:^|[_\W])(?:ids?|uid|guid|uuid|code|zip|zipcode|postcode|sku|ean|isbn|nr|no|number|key|account|user|customer|"
    r"device|item|product|shop|store|merchant|seller|campaign|channel|courier|driver|station|sensor|machine|region|"
    r"category|type|class|group|flight|route)$",
    re.IGNORECASE,
)  # fmt: skip
_MEASURES = re.compile(
    r"(?:^|[_\W])(?:n|num|count|total|sum|amount|price|cost|value|balance|bytes|size|length|width|height|weight|distance|"
    r"duration|time|seconds|minutes|year|month|week|day|hour|minute|second|age|rate|ratio|score|temp|speed|volume|qty|"
    r"quantity|lat|lon|pos|position|rank|level|percent|pct)(?:$|[_\W])",
    re.IGNORECASE,
)  # fmt: skip
_LOWER_UPPER = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")  # userId -> user_Id
_KINDS_OF_FORMS = {
    Form.EMPTY: Kind(EMPTY, "no value in any row"),
    Form.TIME: Kind(TIME, "a second time is not used"),
    Form.WORDS: Kind(TEXT, "each word has a weight"),
}
_UNIQUE = 0.95  # share of different values from which on a name names one row
_MANY = 1_000  # rows from which on that can be told
_FEWEST_VALUES = 30
_RANGES = 20
_BETTER = 0.02  # by how much single values must tell more than ranges


def kinds_of(table: Table, choices: Choices) -> dict[str, Kind]:
    """The kind of each column that is neither label nor one of its times."""
    until = max(1, int(table.n * FIRST_PART))
    sample = sample_of(table.label, len(table.columns), until)
    return {name: _kind(held, choices, sample, table.n) for name, held in table.columns.items()}


def _kind(held: Held, choices: Choices, sample: Sample, n: int) -> Kind:
    told = _KINDS_OF_FORMS.get(held.form)
    if told:
        return Kind(told.name, "you said so") if held.name in choices.text else told
    if held.name in choices.category or held.name == choices.key:
        return Kind(CATEGORY, "the key" if held.name == choices.key else "you said so")
    distinct = _distinct(held)
    if distinct == 1 and held.n_missing == 0:
        return Kind(CONSTANT, "one value in all rows")
    if held.form is Form.NUMBER:
        return _of_integers(held, sample, n, distinct) if held.is_whole and distinct > 2 else Kind(NUMBER)  # noqa: PLR2004
    return _unique("texts") if n >= _MANY and distinct > _UNIQUE * n else Kind(CATEGORY)


def _of_integers(held: Held, sample: Sample, n: int, distinct: int) -> Kind:
    if not _NAMES.search(_LOWER_UPPER.sub("_", held.name)):
        return Kind(CATEGORY, "integers that behave like ids") if _behaves_like_ids(held, sample, distinct) else Kind(NUMBER)
    return _unique("ids") if n >= _MANY and distinct > _UNIQUE * n else Kind(CATEGORY, "integers named like ids")


def _unique(what: str) -> Kind:
    return Kind(IDENTIFIER, f"{what}, another one in each row: nothing to learn from")


def _behaves_like_ids(held: Held, sample: Sample, distinct: int) -> bool:
    """Arbitrary positive integers that recur; a name that speaks of a measure stands against it."""
    if distinct < _FEWEST_VALUES or sample.rows.size < _MANY or _MEASURES.search(_LOWER_UPPER.sub("_", held.name)):
        return False
    assert held.values is not None
    if float(np.nanmin(held.values)) <= 0.0:  # "none" is a measure's word
        return False
    values = values_of(held, sample)
    if (int(values.max()) + 1) * 3 > values.size:  # most values would have been seen once or twice
        return False
    return tells(sample, values) > tells(sample, ranges_of(held, sample, _RANGES)) + _BETTER


def _distinct(held: Held) -> int:
    """Number of different values; of floats that are no integers, only whether there is more than one."""
    values = held.values
    assert values is not None
    if held.form is Form.NUMBER and not held.is_whole:
        there = values[~np.isnan(values)]
        return 1 if there.size and (there == there[0]).all() else there.size
    if held.form is Form.NUMBER:
        values = values[~np.isnan(values)]
    return int(np.unique(values).size)
