"""Checkpoints: what was saved comes back, whole, or is refused with a reason."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import lmdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.core.errors import CorruptData, WrongState
from headwater.store import deltas
from headwater.store.checkpoint import FORMAT, Checkpoints, Differ, Save, SavedMeta, rows_per_block


def _save(store: Checkpoints, differ: Differ, seq: int, **arrays: np.ndarray) -> int:
    """Save arrays by comparison; returns how many blocks were written."""
    save = Save(SavedMeta(FORMAT, "app", seq, {}, {}))
    for name, array in arrays.items():
        differ.add(save, name, array)
    save.outbox.append(("judged", seq.to_bytes(8, "big"), b"x" * seq))
    store.save(save)
    store.wait()
    return len(save.blocks)


def test_a_fresh_directory_has_no_state(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path).load("app") is None


def test_only_changed_blocks_are_written(tmp_path: Path) -> None:
    store, differ = Checkpoints(tmp_path), Differ()
    big = np.arange(100_000, dtype=np.float64)
    assert _save(store, differ, 1, big=big) == -(-big.size // rows_per_block(big))
    big[50_000] = -1
    assert _save(store, differ, 2, big=big) == 1
    assert _save(store, differ, 3, big=big) == 0
    loaded = store.load("app")
    assert loaded is not None
    assert loaded[0].seq == 3
    np.testing.assert_array_equal(loaded[1]["big"], big)


def test_flagged_rows_are_written_without_a_copy_to_compare(tmp_path: Path) -> None:
    store, differ = Checkpoints(tmp_path), Differ()
    table = np.zeros((5_000, 8))
    for seq, row in enumerate((17, 4_999, 17)):
        table[row] += 1.0
        save = Save(SavedMeta(FORMAT, "app", seq, {}, {}))
        differ.add(save, "table", table, np.arange(5_000) if seq == 0 else np.array([row]))
        assert seq == 0 or [part.rows.nbytes for part in save.changed] == [8 * 8]
        store.save(save)
        store.wait()
    _is_saved(store, table)


def _is_saved(store: Checkpoints, table: np.ndarray) -> None:
    loaded = store.load("app")
    assert loaded is not None
    np.testing.assert_array_equal(loaded[1]["table"], table)


def _save_rows(store: Checkpoints, differ: Differ, seq: int, table: np.ndarray, at: np.ndarray) -> None:
    save = Save(SavedMeta(FORMAT, "app", seq, {}, {}))
    differ.add(save, "table", table, at)
    store.save(save)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(1, 400), st.integers(0, 2**31), st.booleans()), min_size=1, max_size=12))
def test_rows_saved_many_times_come_back_merged_or_not(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int, bool]]
) -> None:
    """Tables grow, shrink and change; nearly every save is merged, in several slices, or left for later by a restart."""
    folder = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patched:
        for name, size in (("_SMALL_BYTES", 1), ("_SLICE_BYTES", 20_000), ("_PIECE_BYTES", 700), ("BLOCK_BYTES", 1_000)):
            patched.setattr(deltas, name, size)
        store, differ, table = Checkpoints(folder), Differ(), np.zeros((0, 3))
        for seq, (n, seed, restarts) in enumerate(steps):
            chance = np.random.default_rng(seed)
            is_changed = chance.random(n) < 0.3
            is_changed[len(table) :] = True
            table = np.concatenate([table[:n], np.zeros((max(0, n - len(table)), 3))])
            table[is_changed] = chance.random((int(is_changed.sum()), 3))
            _save_rows(store, differ, seq, table, np.flatnonzero(is_changed))
            if restarts:
                store.close()
                store = Checkpoints(folder)
            store.wait()
            _is_saved(store, table)
        store.close()


def test_what_was_appended_does_not_grow_without_end(tmp_path: Path) -> None:
    store, differ, table = Checkpoints(tmp_path), Differ(), np.zeros((20_000, 32))
    for seq in range(40):
        table += 1.0
        _save_rows(store, differ, seq, table, np.arange(20_000))
    store.close()
    assert (tmp_path / "data.mdb").stat().st_size < 10 * table.nbytes
    _is_saved(Checkpoints(tmp_path), table)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(1, 9_000), st.integers(0, 2**31)), min_size=1, max_size=6))
def test_arrays_that_grow_and_shrink_come_back(tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int]]) -> None:
    store, differ = Checkpoints(tmp_path_factory.mktemp("state")), Differ()
    for seq, (rows, seed) in enumerate(steps):
        array = np.random.default_rng(seed).random((rows, 3))
        _save(store, differ, seq, array=array)
        loaded = store.load("app")
        assert loaded is not None
        np.testing.assert_array_equal(loaded[1]["array"], array)
    store.close()


def test_the_outbox_is_read_in_order_and_trimmed(tmp_path: Path) -> None:
    store, differ = Checkpoints(tmp_path), Differ()
    for seq in (1, 2, 300):
        _save(store, differ, seq, a=np.zeros(1))
    assert [len(value) for _, value in store.outbox("judged")] == [1, 2, 300]
    assert [len(value) for _, value in store.outbox("judged", (2).to_bytes(8, "big"))] == [2, 300]
    store.trim("judged", keep=1)
    _save(store, differ, 301, a=np.zeros(1))  # written after the trimming
    assert [len(value) for _, value in store.outbox("judged")] == [300, 301]


def test_another_apps_state_is_refused(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path)
    _save(store, Differ(), 1, a=np.zeros(1))
    with pytest.raises(WrongState, match="belongs to another app"):
        store.load("other")


def test_a_missing_block_is_named(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path)
    _save(store, Differ(), 1, weights=np.zeros(10_000))
    store.close()
    with lmdb.open(str(tmp_path), max_dbs=8) as env:
        blocks = env.open_db(b"blocks")
        with env.begin(write=True) as txn:
            assert txn.delete(b"weights\0" + (1).to_bytes(6, "big"), db=blocks)
    with pytest.raises(CorruptData, match=r"weights\[1\]"):
        Checkpoints(tmp_path).load("app")


def test_a_missing_piece_is_named(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path)
    _save_rows(store, Differ(), 1, np.ones((9, 2)), np.arange(9))
    store.close()
    with lmdb.open(str(tmp_path), max_dbs=8) as env:
        blocks = env.open_db(b"blocks")
        with env.begin(write=True) as txn:
            assert txn.delete(deltas.Written(0, 9, 9).key("table", 0), db=blocks)
    with pytest.raises(CorruptData, match=r"table, delta 0\[0\]"):
        Checkpoints(tmp_path).load("app")


def test_a_state_of_another_format_is_refused(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path)
    store.save(Save(SavedMeta(1, "app", 1, {}, {})))
    store.wait()
    with pytest.raises(WrongState, match="expected format 3 or before; got format 1"):
        store.load("app")


@pytest.mark.parametrize("point", ["checkpoint.merging", "checkpoint.merged"])
@pytest.mark.parametrize("times", [1, 2])
def test_a_kill_while_rows_are_merged_changes_nothing(tmp_path: Path, point: str, times: int) -> None:
    program = (
        "import os, sys, numpy as np; from pathlib import Path\n"
        "from headwater.core import crashpoints\n"
        "from headwater.store import deltas\n"
        "from headwater.store.checkpoint import *\n"
        "deltas._SMALL_BYTES, deltas._SLICE_BYTES, left = 1, 400_000, [int(sys.argv[3])]\n"
        "def die(name):\n"
        "    left[0] -= name == sys.argv[2]\n"
        "    return not left[0] and os.kill(os.getpid(), 9)\n"
        "crashpoints.arm(die)\n"
        "store, differ, table = Checkpoints(Path(sys.argv[1])), Differ(), np.zeros((9_000, 16))\n"
        "for seq in range(1, 30):\n"
        "    at = np.arange(9_000) if seq == 1 else np.arange(seq, 9_000, 7)\n"
        "    table[at] = seq\n"
        "    save = Save(SavedMeta(FORMAT, 'app', seq, {}, {}))\n"
        "    differ.add(save, 'table', table, at)\n"
        "    store.save(save); store.wait()\n"
        "    while store._merging is not None: store._pool.submit(int).result()\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path), point, str(times)], check=False)
    assert done.returncode == -signal.SIGKILL
    store = Checkpoints(tmp_path)
    expected = np.zeros((9_000, 16))
    for seq in range(1, store.seq() + 1):
        expected[0 if seq == 1 else seq :: 1 if seq == 1 else 7] = seq
    _is_saved(store, expected)


@pytest.mark.parametrize("point", ["checkpoint.blocks_put", "checkpoint.put", "checkpoint.committed"])
def test_a_kill_leaves_the_old_state_or_the_new_one(tmp_path: Path, point: str) -> None:
    program = (
        "import os, sys, numpy as np; from pathlib import Path\n"
        "from headwater.core import crashpoints\n"
        "from headwater.store.checkpoint import *\n"
        "store, differ = Checkpoints(Path(sys.argv[1])), Differ()\n"
        "for seq in (1, 2):\n"
        "    if seq == 2: crashpoints.arm(lambda name: name == sys.argv[2] and os.kill(os.getpid(), 9))\n"
        "    save = Save(SavedMeta(FORMAT, 'app', seq, {}, {}))\n"
        "    differ.add(save, 'a', np.full(20_000, float(seq)))\n"
        "    store.save(save); store.wait()\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path), point], check=False)
    assert done.returncode == -signal.SIGKILL
    loaded = Checkpoints(tmp_path).load("app")
    assert loaded is not None
    assert set(loaded[1]["a"].tolist()) == {float(loaded[0].seq)}
    assert loaded[0].seq == (2 if point == "checkpoint.committed" else 1)
