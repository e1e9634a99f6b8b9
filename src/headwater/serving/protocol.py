"""What the HTTP layer asks of whatever computes answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from headwater.core.batch import Bools, Floats, Frame, Ints
from headwater.core.errors import Fatal
from headwater.core.schema import Schema
from headwater.serving.classes import Classes


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """Rows for one model to answer.

    Attributes:
        rows: The fields of the model's `on` stream; a field that the caller left out is a column of nulls. The key
            column is always there.
        given: Names of the fields that the caller gave. Only the key: a row already in the log is asked for.
        time: Event time of each row in ms since 1970 UTC; None means the newest event time that the loop has seen.
        explain: Also return each feature's exact share of the score.
    """

    rows: Frame
    given: frozenset[str]
    time: Ints | None = None
    explain: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """One version's answer to all rows of a question.

    Attributes:
        line: The line that answered.
        seq: The answer is what the fold says after the events before this `seq`; `line@seq` names it.
        score: float64[n]; a probability for loss "log", the expected value for loss "squared", of several classes the
            probability of the one that is said.
        stored: bool[n]; true where the row was in the log and its stored vector was used.
        shares: With `explain`: for each row, feature name -> share; they and "intercept" add up to the linear
            predictor (log odds for loss "log").
        classes: Of a line with several classes, what it says of each.
        guarded: For a model with a guard, for each row: feature -> what was wrong with it and what was done.
        degraded: Why this is not the newest state's answer, but the last good one's or "no change"; "" where it is.
    """

    line: str
    seq: int
    score: Floats
    stored: Bools
    shares: list[dict[str, float]] | None = None
    classes: Classes | None = None
    degraded: str = ""
    guarded: list[dict[str, str]] | None = None


class Unexplained(Fatal):
    """This model's learner cannot say what each feature adds to a score."""

    def __init__(self, model: str) -> None:
        super().__init__(
            "this learner cannot say what each feature adds", where=model, expected="explain=true for compiled learners only",
            next_step="Ask without explain.",
        )  # fmt: skip


class Recalled(NamedTuple):
    """The answer to one stored question; see `Answer`."""

    line: str
    seq: int
    score: float


class Answerer(Protocol):
    """Computes answers from what the learner has published; safe to call from several threads."""

    def models(self) -> dict[str, Schema]:
        """Model name -> the schema of the stream it answers on."""

    def says_classes(self, model: str) -> bool:
        """Whether the model's label names one of several classes, and so do its answers."""

    def recall(self, model: str, key: Any) -> Recalled | None:
        """Answer the stored question with this key, as `answer` would and sooner; None where none waits, or none can be told.

        Raises:
            Retryable: Nothing is published yet.
        """

    def answer(self, model: str, question: Question) -> Answer:
        """Answer all rows from one consistent view.

        Raises:
            KeyError: No such model.
            Retryable: Nothing is published yet.
            Unexplained: Shares are asked for, and the model's learner has none.
        """

    def status(self) -> dict[str, object]:
        """What the learner last said of itself: `seq`, `published_us`, `time_ms` (event-time high mark), metrics, counts."""
