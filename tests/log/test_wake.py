"""Doorbells ring, and a ring never hurts the one who rings."""

from __future__ import annotations

import select
import threading
from pathlib import Path

from headwater.log import Doorbell, ring


def test_a_ring_is_heard_once(tmp_path: Path) -> None:
    with Doorbell(tmp_path) as bell:
        assert not bell.wait(0)
        assert [ring(tmp_path) for _ in range(3)] == [1, 1, 1]
        assert bell.wait(0)
        assert not bell.wait(0)


def test_a_waiting_reader_wakes(tmp_path: Path) -> None:
    with Doorbell(tmp_path) as bell:
        appender = threading.Thread(target=ring, args=(tmp_path,))
        appender.start()
        assert bell.wait(30)
        appender.join()


def test_every_reader_hears_it_and_may_watch_the_descriptor(tmp_path: Path) -> None:
    with Doorbell(tmp_path) as one, Doorbell(tmp_path) as two:
        assert ring(tmp_path) == 2
        ready, _, _ = select.select([one, two], [], [], 0)
        assert ready == [one, two]
        one.clear()
        assert select.select([one, two], [], [], 0)[0] == [two]


def test_nobody_listens_and_nothing_happens(tmp_path: Path) -> None:
    assert ring(tmp_path / "absent") == 0
    assert ring(tmp_path) == 0
    Doorbell(tmp_path).close()
    assert list(tmp_path.iterdir()) == []


def test_a_full_queue_does_not_block(tmp_path: Path) -> None:
    with Doorbell(tmp_path) as bell:
        assert all(ring(tmp_path) == 1 for _ in range(5000))
        assert bell.wait(0)
        assert not bell.wait(0)


def test_the_file_of_a_dead_reader_is_removed(tmp_path: Path) -> None:
    dead = Doorbell(tmp_path)
    dead._socket.close()  # as the kernel does for a process that was killed
    with Doorbell(tmp_path) as bell:
        assert ring(tmp_path) == 1
        assert len(list(tmp_path.iterdir())) == 1
        assert bell.wait(0)


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert ring(tmp_path) == 0
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_long_path_works_too(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30)
    with Doorbell(folder) as bell:
        assert ring(folder) == 1
        assert bell.wait(0)
