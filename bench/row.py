"""What a row is: its numbers, its peer, what each side does, and the function that measures it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bench.result import Result, Spec


@dataclass(frozen=True, slots=True)
class Size:
    """How much is run.

    Attributes:
        is_quick: Fewer rounds and less work, for a look.
    """

    is_quick: bool

    def rounds(self, full: int) -> int:
        return min(2, full) if self.is_quick else full

    def work(self, full: int) -> int:
        return max(1, full // 4) if self.is_quick else full


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison; it may have several numbers.

    Attributes:
        specs: Its numbers.
        path: The hot path in a few words.
        peer: Who it is compared with; "" where the figure is our own.
        ours: What Headwater does.
        theirs: What the peer does, and its settings.
        environments: The peers' environments that it needs.
        measure: Runs it; the results in the order of `specs`.
    """

    specs: tuple[Spec, ...]
    path: str
    peer: str
    ours: str
    theirs: str
    measure: Callable[[Row, Size], Sequence[Result]]
    environments: tuple[str, ...] = field(default=())

    @property
    def slugs(self) -> tuple[str, ...]:
        return tuple(spec.slug for spec in self.specs)
