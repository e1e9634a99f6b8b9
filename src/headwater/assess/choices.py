"""What a user says about a table: which column is what."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from headwater.core.errors import Fatal, nearest

TASKS = ("auto", "binary", "multiclass", "regression")


@dataclass(frozen=True, slots=True)
class Choices:
    """Which column is what; columns that are not named are looked at.

    Attributes:
        label: What turned out to be true.
        time: When the event happened.
        label_time: When its label became known; None: at once.
        key: Whom or what an event is about; "no change" then repeats the last label of the same one.
        drop: Columns that are not to be read at all.
        category, text: Columns whose kind the user knows: a weight for each value, or for each word.
        keep: Columns that are features although they look like leaks.
        task: One of `TASKS`; "auto" decides by the label's values.
    """

    label: str
    time: str
    label_time: str | None = None
    key: str | None = None
    drop: tuple[str, ...] = ()
    category: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    task: str = "auto"

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise Fatal("no such task", where="--task", expected=" or ".join(TASKS), got=self.task)
        if self.label in (self.time, self.label_time):
            raise Fatal("the label is also a time", where=f"--label {self.label}", next_step="Name the column to predict.")
        if self.time == self.label_time:
            raise Fatal(
                "events and their labels have the same time column", where=f"--label-time {self.label_time}",
                next_step="Leave --label-time out: then a label is known right after its event.",
            )  # fmt: skip
        for name in (*self.roles, *self.keep):
            if name in self.drop:
                raise Fatal("a column is both used and dropped", where=f"--drop {name}")

    @property
    def roles(self) -> tuple[str, ...]:
        """The columns that are no features, and the key."""
        return tuple(name for name in (self.label, self.time, self.label_time, self.key) if name is not None)

    def check(self, names: Iterable[str], where: str) -> None:
        """Refuse a column that the file does not have.

        Raises:
            Fatal: It lists the nearest names.
        """
        known = list(names)
        options = {
            "--label": (self.label,), "--time": (self.time,), "--label-time": (self.label_time,), "--key": (self.key,),
            "--drop": self.drop, "--category": self.category, "--text": self.text, "--keep": self.keep,
        }  # fmt: skip
        for option, given in options.items():
            for name in given:
                if name is not None and name not in known:
                    raise Fatal("no such column", where=f"{where}, {option}", got=name, next_step=nearest(name, known[:500]))
