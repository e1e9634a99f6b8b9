"""The history's point-in-time join is DuckDB's, on random rows and questions; a replay keeps what was scored."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headwater as hw
from headwater.core.errors import CorruptData, Fatal, WrongState
from headwater.log.protocol import Chunk
from headwater.runtime.fold import Fold
from headwater.runtime.vectors import Vectors
from headwater.store.history import History
from headwater.testing.events import Seen, batch_of, split

HOUR = 3_600_000
START = 1_736_121_600_000 + 20 * HOUR  # four hours before midnight
keys = st.sampled_from(["a", "b", None])
rows_of = st.lists(st.tuples(st.integers(0, 12), keys, st.integers(0, 2), st.floats(-9, 9)), max_size=30)
asks_of = st.lists(st.tuples(st.integers(-2, 14), keys, st.integers(0, 2)), max_size=20)


def stamps(hours):
    return pa.array([START + h * HOUR for h in hours], pa.timestamp("ms", "UTC"))


def rows_table(rows, first=0):
    return pa.table({
        "seq": pa.array(range(first, first + len(rows)), pa.int64()), "time": stamps([h for h, *_ in rows]),
        "shop": pa.array([s for _, s, *_ in rows], pa.string()), "n": pa.array([n for _, _, n, _ in rows], pa.int64()),
        "x": pa.array([x for *_, x in rows], pa.float64()),
    })  # fmt: skip


def asks_table(asks):
    return pa.table({
        "id": pa.array(range(len(asks)), pa.int64()), "asked": stamps([h for h, *_ in asks]),
        "shop": pa.array([s for _, s, _ in asks], pa.string()), "n": pa.array([n for *_, n in asks], pa.int64()),
    })  # fmt: skip


def sql(rows, asks, extra=""):
    """The newest row by (time, seq) of the same shop and n, by an ASOF join over the last seq of each time."""
    database = duckdb.connect()
    database.execute("SET TimeZone = 'UTC'")
    database.register("h", rows)
    database.register("q", asks)
    return database.sql(f"""
        WITH newest AS (SELECT shop, n, time, max(seq) AS seq, arg_max(x, seq) AS x FROM h GROUP BY shop, n, time)
        SELECT q.id, w.seq, w.x FROM q ASOF LEFT JOIN newest w ON q.shop = w.shop AND q.n = w.n AND q.asked >= w.time {extra}
        ORDER BY q.id
    """).fetchall()


@settings(max_examples=50)
@given(rows_of, asks_of, st.lists(st.integers(1, 9), min_size=1, max_size=3))
def test_the_join_is_duckdbs(rows, asks, sizes):
    """However the rows were cut into appends, and where some were appended twice."""
    table, questions = rows_table(rows), asks_table(asks)
    with tempfile.TemporaryDirectory() as folder:
        history, at, turn = History(Path(folder)), 0, 0
        history.append(table.slice(0, 2))  # what a restart writes again
        while at < len(rows):
            history.append(table.slice(at, sizes[turn % len(sizes)]))
            at, turn = at + sizes[turn % len(sizes)], turn + 1
        if not rows:
            with pytest.raises(WrongState, match="no history is kept here"):
                history.join(questions, ["shop", "n"], as_of="asked")
            return
        joined = history.join(questions, ["shop", "n"], as_of="asked")
        got = list(zip(*(joined[name].to_pylist() for name in ("id", "seq", "x")), strict=True))
        assert got == sql(table, questions)
        young = history.join(questions, ["shop", "n"], as_of="asked", max_age="3h")
        expected = []
        for i, seq, x in sql(table, questions):
            is_young = seq is not None and asks[i][0] - rows[seq][0] <= 3
            expected.append((i, seq, x) if is_young else (i, None, None))
        assert list(zip(*(young[name].to_pylist() for name in ("id", "seq", "x")), strict=True)) == expected
        assert history.read().to_pylist() == table.to_pylist()


def test_days_are_folders_and_only_those_that_matter_are_read(tmp_path):
    history = History(tmp_path)
    history.append(rows_table([(h, "a", 0, float(h)) for h in (0, 3, 4, 30)]))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["day=2025-01-06", "day=2025-01-07", "day=2025-01-08"]
    (next((tmp_path / "day=2025-01-08").iterdir())).write_bytes(b"not read")
    assert history.read(last_ms=START + 5 * HOUR)["x"].to_pylist() == [0.0, 3.0, 4.0]
    assert history.read(START + 4 * HOUR, START + 4 * HOUR)["x"].to_pylist() == [4.0]
    question = pa.table({"shop": ["a"], "time": pa.array([datetime(2025, 1, 7, 12, tzinfo=UTC)])})
    joined = history.join(question, ["shop"])
    assert joined.column_names == ["shop", "time", "seq", "history.time", "n", "x"]
    assert joined["x"].to_pylist() == [4.0]


def test_what_cannot_be_kept_or_joined_says_why(tmp_path):
    history, rows = History(tmp_path), rows_table([(0, "a", 0, 1.0)])
    with pytest.raises(Fatal, match="no such column; expected seq"):
        history.append(rows.drop_columns(["seq"]))
    history.append(rows)
    with pytest.raises(WrongState, match="other columns than the history"):
        history.append(rows.drop_columns(["x"]))
    with pytest.raises(Fatal, match="the questions: there is no such column; got shp"):
        history.join(asks_table([(1, "a", 0)]), ["shp"], as_of="asked")
    with pytest.raises(Fatal, match="a time is missing"):
        history.join(pa.table({"shop": ["a"], "time": pa.array([None], pa.timestamp("ms", "UTC"))}), ["shop"])


def test_any_altered_byte_of_a_file_is_named(tmp_path):
    history = History(tmp_path)
    history.append(rows_table([(0, "a", 0, 1.0), (1, "b", 1, 2.0)]))
    (file,) = tmp_path.glob("*/*.parquet")
    whole = file.read_bytes()
    for at in range(0, len(whole), 7):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        with pytest.raises(CorruptData, match=str(file)):
            history.read()
    file.write_bytes(whole)
    assert history.read()["x"].to_pylist() == [1.0, 2.0]


def test_rows_are_replaced_by_the_same_rows_and_older_files_have_no_checksum(tmp_path):
    history, rows = History(tmp_path), rows_table([(0, "a", 0, 1.0), (1, "b", 1, 2.0)])
    history.append(rows)
    (file,) = tmp_path.glob("*/*.parquet")
    older = file.with_name("-".join(file.stem.split("-")[:2]) + ".parquet")
    file.rename(older)
    assert history.read()["x"].to_pylist() == [1.0, 2.0]
    history.append(rows_table([(0, "a", 0, 3.0), (1, "b", 1, 4.0)]))
    assert not older.exists()
    assert history.read()["x"].to_pylist() == [3.0, 4.0]


class Ask(hw.Event, key="id_", lateness="1h"):
    id_: hw.Field[str]
    shop: hw.Field[str]
    x: hw.Field[float | None]


class Told(hw.Event, key="id_", lateness="1h"):
    id_: hw.Field[str]
    shop: hw.Field[str]
    y: hw.Field[float]


def test_vectors_are_kept_as_they_were_scored(tmp_path):
    features = [Ask.x, hw.category(Ask.shop), hw.mean(Told.y, by=Told.shop, half_life="1h")]
    label = hw.label(Told.y > 0, join=Told.id_, on=Ask.id_, within="1h")
    app = hw.App("a", models=[hw.Model("m", on=Ask, features=features, label=label)])
    rng, rows = np.random.default_rng(0), []
    for i in range(200):
        rows += [Seen(START + i * 600_000, Ask(id_=str(i), shop="ab"[i % 2], x=None if i % 5 == 0 else float(i))),
                 Seen(START + i * 600_000, Told(id_=str(i), shop="ab"[i % 2], y=float(rng.normal())))]  # fmt: skip
    rows.insert(300, Seen(START, Ask(id_="late", shop="a", x=0.0)))
    for name, sizes in (("whole", (10**6,)), ("split", (7,))):
        fold, kept = Fold(app), Vectors(app, tmp_path / name)
        fold.on_scored = kept.keep
        for part in split(batch_of(rows), sizes):
            fold.step(Chunk(fold.seq, part))
        kept.flush()
    whole, other = (History(tmp_path / name / "m").read() for name in ("whole", "split"))
    assert whole.to_pylist() == other.to_pylist()
    assert whole.column_names == ["seq", "time", "id_", "shop", "x", "ask.x", "mean(told.y~1h by shop)"]
    assert whole.num_rows == 200  # not the late one
    pending = fold.models["m"].pending
    stored = {int(row[1]): row[6:8] for row in pending.rows[pending.order()]}
    numbers = {r["seq"]: [r["ask.x"], r["mean(told.y~1h by shop)"]] for r in whole.to_pylist()}
    assert len(stored) > 10
    for seq, vector in stored.items():
        np.testing.assert_array_equal(np.array(numbers[seq], float), vector)
