"""The published view: whole, of one place in the log, and readable from another process."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from headwater.core.errors import Retryable
from headwater.store.memory_view import MemoryView
from headwater.store.view import Reader, ViewMeta, ViewReader, ViewWriter, Writer, entity_key, question_key, weights_key


@pytest.fixture(params=["lmdb", "memory"])
def both(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Writer, Callable[[], Reader]]:
    if request.param == "memory":
        view = MemoryView()
        return view, lambda: view
    writer = ViewWriter(tmp_path / "view")
    return writer, lambda: _OtherSide(writer)


class _OtherSide(ViewReader):
    """A reader in the writer's process: LMDB wants one environment a process."""

    def __init__(self, writer: ViewWriter) -> None:
        self._env = writer._env


def test_nothing_published_is_said(both: tuple[Writer, Callable[[], Reader]]) -> None:
    _, reader = both
    with pytest.raises(Retryable, match="nothing is published yet"), reader().open():
        pass


def test_rows_come_back_and_go(both: tuple[Writer, Callable[[], Reader]]) -> None:
    writer, reader = both
    row = np.array([1.5, -2.0])
    writer.publish(ViewMeta(seq=3), [(entity_key(0, 7), row.tobytes()), (entity_key(1, 7), row.tobytes())])
    writer.publish(ViewMeta(seq=5, time_ms=9), [], [entity_key(1, 7)], b'{"a":1}')
    with reader().open() as view:
        assert (view.meta.seq, view.meta.time_ms) == (5, 9)
        found, there = view.rows(0, np.array([7, 8], np.uint64), 2)
        assert there.tolist() == [True, False]
        assert found.tolist() == [[1.5, -2.0], [0.0, 0.0]]
        assert view.row(entity_key(1, 7)) is None
        assert view.status() == {"a": 1}
    assert writer.seq() == 5


def test_many_rows_come_back_as_one_by_one(both: tuple[Writer, Callable[[], Reader]]) -> None:
    writer, reader = both
    chance = np.random.default_rng(3)
    known = chance.integers(0, 2**63, 200).astype(np.uint64) * np.uint64(2)  # beyond 2^63 too
    rows = chance.normal(size=(200, 3))
    for key in (entity_key, question_key):
        writer.publish(ViewMeta(seq=1), [(key(4, k), r.tobytes()) for k, r in zip(known.tolist(), rows, strict=True)])
    asked = np.concatenate([known[chance.integers(0, 200, 300)], np.array([0, 1, 2**64 - 1], np.uint64)])
    chance.shuffle(asked)
    with reader().open() as view:
        for table, key in ((b"e", entity_key), (b"q", question_key)):
            found, there = view.rows(4, asked, 3, table)
            for i, k in enumerate(asked.tolist()):
                one = view.row(key(4, k))
                assert there[i] == (one is not None)
                assert found[i].tolist() == ([0.0] * 3 if one is None else one.tolist())
            assert not view.rows(5, asked, 3, table)[1].any()


def test_clear_forgets_everything_and_goes_on(tmp_path: Path) -> None:
    """Dropping LMDB's main database corrupted later commits; deleting row by row does not."""
    writer = ViewWriter(tmp_path)
    rows = [(entity_key(0, k), np.full(40, float(k)).tobytes()) for k in range(3_000)]
    for _ in range(3):
        writer.publish(ViewMeta(seq=1), rows)
        writer.clear()
        assert writer.seq() == 0
    writer.publish(ViewMeta(seq=2), [*rows, (b"wlate", np.zeros(100_000).data)])
    writer.publish(ViewMeta(seq=3), rows[2:], [entity_key(0, 1)])
    with _OtherSide(writer).open() as view:
        assert view.row(entity_key(0, 2)) is not None
        assert view.row(entity_key(0, 1)) is None


def test_a_reader_never_sees_half_a_state(tmp_path: Path) -> None:
    writer = ViewWriter(tmp_path)
    keys = [entity_key(0, k) for k in range(50)]
    writer.publish(ViewMeta(seq=0), [(k, np.zeros(1).tobytes()) for k in keys])
    stop, torn, seen = threading.Event(), [], set()

    def read() -> None:
        while not stop.is_set():
            with _OtherSide(writer).open() as view:
                values = {float(view.row(k)[0]) for k in keys}  # type: ignore[index]
                seen.add(view.meta.seq)
                if values != {float(view.meta.seq)}:
                    torn.append(values)

    thread = threading.Thread(target=read)
    thread.start()
    for seq in range(1, 400):
        writer.publish(ViewMeta(seq=seq), [(k, np.full(1, float(seq)).tobytes()) for k in keys])
    stop.set()
    thread.join()
    assert not torn
    assert len(seen) > 1, "the reader saw only one state: the test proves nothing"


def test_another_process_reads_what_a_killed_one_published(tmp_path: Path) -> None:
    program = (
        "import os, sys, numpy as np; from pathlib import Path\n"
        "from headwater.store.view import *\n"
        "w = ViewWriter(Path(sys.argv[1]))\n"
        "w.publish(ViewMeta(seq=11), [(entity_key(0, 1), np.ones(2).tobytes())])\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert done.returncode == -9
    reader = ViewReader(tmp_path)
    with reader.open() as view:
        assert view.meta.seq == 11
        assert view.row(entity_key(0, 1)).tolist() == [1.0, 1.0]  # type: ignore[union-attr]


def test_the_waiting_questions_that_are_shown_can_be_listed(both: tuple[Writer, Callable[[], Reader]]) -> None:
    writer, _ = both
    assert writer.questions() == []
    row = np.array([1.5]).tobytes()
    keys = [question_key(0, 3), question_key(1, 2)]
    writer.publish(
        ViewMeta(seq=1), [(entity_key(0, 7), row), *((key, row) for key in keys), (weights_key("late"), row)], [], b"{}"
    )
    assert writer.questions() == keys
