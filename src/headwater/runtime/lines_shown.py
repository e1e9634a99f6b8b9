"""What a view shows of lines: of a small one all, of a large one the parts that changed.

A line of the event lane is shown whole, as its own code has to load it. The fast layer is ours: its hashed weights are shown by
row and its trees once a refit, so that a block of labels publishes some kilobytes and not half a megabyte. All of it is put in
one transaction, and so is of one place in the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headwater.core.seals import Seal
from headwater.learning.protocol import Array
from headwater.registry.artifact import encode
from headwater.runtime.flags import PUBLISHED, taken
from headwater.runtime.lane import LaneState
from headwater.runtime.model_fold import ModelFold
from headwater.serving.lanes import sealed
from headwater.serving.parts import trees_of
from headwater.store.view import hashed_row_key, outcomes_key, trees_key, weights_key

Puts = list[tuple[bytes, Any]]


class LinesShown:
    """Which state of each line is shown.

    Args:
        seal: Goes on what is shown of the event lane; None: it is read in this process only.
    """

    def __init__(self, seal: Seal | None) -> None:
        self._seal = seal
        self._learnt: dict[str, int] = {}
        self._trees: dict[str, int] = {}

    def clear(self) -> None:
        """Nothing is shown."""
        self._learnt.clear()
        self._trees.clear()

    def changes(self, number: int, name: str, model: ModelFold) -> Puts:
        """What has to be put for one model's line."""
        line, puts = model.learner, Puts()
        if self._learnt.get(name) != line.mark:
            self._learnt[name] = line.mark
            if model.lane is not None:
                puts += self._lane(name, model.lane)
                puts.append((outcomes_key(name), model.no_change.tobytes()))
            else:
                puts.append((weights_key(name), line.published().data))
        return puts + _hashed_rows(number, model)

    def _lane(self, name: str, lane: LaneState) -> Puts:
        if lane.fast is None:
            return [(weights_key(name), sealed(lane.packed(), name, self._seal).data)]
        puts, trees = [(weights_key(name), self._sealed(lane.fast.head(), name))], lane.fast.trees()
        if trees is not None and self._trees.get(name) != lane.fast.trees_mark:
            self._trees[name] = lane.fast.trees_mark
            puts.append((trees_key(name), self._sealed(trees, trees_of(name))))
        return puts

    def _sealed(self, arrays: Mapping[str, Array], place: str) -> Any:
        return sealed(encode(arrays, {}), place, self._seal).data


def _hashed_rows(number: int, model: ModelFold) -> Puts:
    """The hashed rows that changed."""
    if model.hashed is None:
        return []
    changed = taken(model.hashed.dirty, PUBLISHED)
    rows = model.hashed.hashed(changed)
    return [(hashed_row_key(number, at), row.tobytes()) for at, row in zip(changed.tolist(), rows, strict=True)]


def mark_line(model: ModelFold, bits: int) -> None:
    """Have a line's hashed rows published, or saved, anew."""
    if model.hashed is not None and model.hashed.n_learnt:
        model.hashed.touch(bits)
