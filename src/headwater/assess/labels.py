"""The label's column: numbers, or classes by name."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from headwater.core.batch import Floats
from headwater.core.errors import Fatal

MOST_CLASSES = 200
_FEW_NUMBERS = 10  # different whole numbers up to which they are classes
_MOST_TEXTS = 10_000  # different texts from which on reading stops: these are no classes
_YES = ("1", "true", "yes", "y", "t", "positive", "pos", "bad", "fraud", "late", "up")


@dataclass(slots=True, eq=False)
class Label:
    """The label of all rows.

    Attributes:
        name: Its column.
        task: "binary", "multiclass" or "regression".
        y: float64[n]: 0 or 1, the class's number, or the number itself; NaN where a row has none.
        classes: Names of the classes, for two of them of what 0 and 1 stand for; empty for numbers.
        is_text: Whether the column's values are texts, so that an app has to compare them.
    """

    name: str
    task: str
    y: Floats
    classes: tuple[str, ...]
    is_text: bool = False


@dataclass(slots=True, eq=False)
class LabelReader:
    """Reads the label; rows without one are scored but neither learnt nor judged.

    Attributes:
        name: Its column.
        where: The file, for messages.
        is_text: Whether values are read as texts; else as numbers.
        misfit: Whether a text came among numbers, so that the column has to be read again as texts.
    """

    name: str
    where: str
    is_text: bool = False
    misfit: bool = False
    _codes: dict[str, int] = field(default_factory=dict)
    _parts: list[Floats] = field(default_factory=list)

    def add(self, array: pa.Array) -> None:
        """Take the next rows."""
        if self.is_text:
            self._parts.append(self._coded(array.cast(pa.string())))
        elif not self.misfit:
            try:
                values = array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
                self._parts.append(np.where(np.isfinite(values), values, np.nan))
            except pa.ArrowInvalid:
                self.misfit = True

    def add_missing(self, n: int) -> None:
        """Take n rows without the column."""
        self.add(pa.nulls(n, pa.string()))

    def finish(self, task: str) -> Label:
        """What the label is, and its values.

        Raises:
            Fatal: It is empty, constant, or does not suit the task.
        """
        values = np.concatenate(self._parts) if self._parts else np.zeros(0)
        distinct = np.unique(values[~np.isnan(values)])
        self._check(distinct, values.size)
        found = self._task(distinct) if task == "auto" else task
        if found == "regression":
            if self.is_text:
                raise self._unfit(found, "numbers", ", ".join(map(repr, list(self._codes)[:3])))
            return Label(self.name, found, values, ())
        if found == "binary" and distinct.size > 2:  # noqa: PLR2004
            raise self._unfit(found, "two values", f"{distinct.size:,} values")
        if distinct.size > MOST_CLASSES:
            raise self._unfit(found, f"at most {MOST_CLASSES} classes", f"{distinct.size:,} different values")
        return self._classes(values, distinct, found)

    def _coded(self, texts: pa.Array) -> Floats:
        """Each text's number, in order of appearance."""
        encoded = texts.dictionary_encode()
        known = [self._codes.setdefault(text, len(self._codes)) for text in encoded.dictionary.to_pylist()]
        if len(self._codes) > _MOST_TEXTS:
            raise self._unfit("multiclass", f"at most {MOST_CLASSES} classes", f"more than {_MOST_TEXTS:,} different texts")
        indices = encoded.indices.fill_null(len(known)).to_numpy(zero_copy_only=False)
        codes: Floats = np.array([*known, np.nan])[indices]
        return codes

    def _check(self, distinct: Floats, n: int) -> None:
        where = f"{self.where}, --label {self.name}"
        if distinct.size == 0:
            raise Fatal("no row has a label", where=where, got=f"{n:,} empty cells")
        if distinct.size == 1:
            raise Fatal(
                "the label never varies, so there is nothing to learn", where=where, expected="at least two values",
                got=repr(self._name(distinct[0])), next_step="Name another column, or give more rows.",
            )  # fmt: skip

    def _task(self, distinct: Floats) -> str:
        if distinct.size == 2:  # noqa: PLR2004
            return "binary"
        is_few = distinct.size <= _FEW_NUMBERS and bool((distinct == np.rint(distinct)).all())
        return "multiclass" if self.is_text or is_few else "regression"

    def _classes(self, values: Floats, distinct: Floats, task: str) -> Label:
        """Classes in order; of two, the greater number, the text that says yes, or the rarer text is 1."""
        names = [self._name(value) for value in distinct]
        there = ~np.isnan(values)
        y = np.full(values.size, np.nan)
        y[there] = np.searchsorted(distinct, values[there])
        if task == "binary" and self.is_text and _first_is_yes(names, float(np.nanmean(y))):
            names, y = names[::-1], 1.0 - y
        return Label(self.name, task, y, tuple(names), self.is_text)

    def _name(self, value: float) -> str:
        return list(self._codes)[int(value)] if self.is_text else f"{value:.12g}"

    def _unfit(self, task: str, expected: str, got: str) -> Fatal:
        return Fatal(
            f"the label does not suit the task {task}", where=f"{self.where}, --label {self.name}", expected=expected, got=got,
            next_step="Choose another --task, or leave it out.",
        )  # fmt: skip


def _first_is_yes(names: list[str], share_of_second: float) -> bool:
    said = [name.strip().lower() in _YES for name in names]
    return said[0] if said[0] != said[1] else share_of_second > 0.5  # noqa: PLR2004
