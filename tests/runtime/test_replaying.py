"""Files and logs folded without processes: any way of cutting them gives the same state, and odd data break nothing."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace as replace_in

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headwater.core.errors import EventsDropped, Fatal, WrongState
from headwater.ingest.decode import Decoder, pieces
from headwater.ingest.limits import Limits
from headwater.ingest.shapes import Shapes
from headwater.log.memory import MemoryLog
from headwater.log.open import open_log
from headwater.registry.artifact import Artifacts
from headwater.registry.catalog import Catalog
from headwater.runtime.export import export
from headwater.runtime.late import late_events
from headwater.runtime.local import LocalRun
from headwater.runtime.rebuild import rebuild
from headwater.runtime.replay import replay
from headwater.runtime.versions import Registrar, header
from headwater.store.history import History

from .conftest import START_MS, arrival, departure, events, write_lines


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    return write_lines(tmp_path_factory.mktemp("files") / "mixed.jsonl", events(400))


@pytest.fixture(scope="module")
def plain(app, mixed):
    return replay(app, {}, mixed=[mixed])


@pytest.mark.parametrize("batch", [1, 7, 256, 4096])
def test_the_state_does_not_depend_on_batches(app, mixed, plain, batch):
    assert replay(app, {}, mixed=[mixed], batch=batch).fold.state_hash() == plain.fold.state_hash()


def test_nor_on_restarts(app, mixed, plain):
    assert replay(app, {}, mixed=[mixed], batch=64, restarts=3).fold.state_hash() == plain.fold.state_hash()


def test_nor_on_how_streams_lie_in_files(app, plain, tmp_path):
    rows = events(400)
    for stream in ("departure", "arrival"):
        mine = [{k: v for k, v in row.items() if k != "stream"} for row in rows if row["stream"] == stream]
        table = pa.Table.from_pylist(mine)
        pq.write_table(
            table.set_column(1, "time", table["time"].cast(pa.timestamp("ms", "UTC"))), tmp_path / f"{stream}.parquet"
        )
    files = {s: tmp_path / f"{s}.parquet" for s in ("departure", "arrival")}
    assert replay(app, files).fold.state_hash() == plain.fold.state_hash()
    assert replay(app, dict(reversed(files.items()))).fold.state_hash() == plain.fold.state_hash()


def test_at_equal_times_outcomes_precede_questions_and_rows_keep_their_order(app, tmp_path):
    same = [departure(i, time=START_MS) for i in (2, 1)] + [arrival(i, 5.0, time=START_MS) for i in (2, 1)]
    done = replay(app, {}, mixed=[write_lines(tmp_path / "same.jsonl", same)])
    assert done.fold.models["late"].report()["questions"]["unmatched_labels"] == 2
    turned = replay(app, {}, mixed=[write_lines(tmp_path / "turned.jsonl", same[2:] + same[:2])])
    assert turned.fold.state_hash() == done.fold.state_hash()
    other = replay(app, {}, mixed=[write_lines(tmp_path / "other.jsonl", [same[1], same[0], *same[2:]])])
    assert other.fold.state_hash() != done.fold.state_hash()


def test_nothing_and_one_event_are_histories_too(app, tmp_path):
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "empty.csv").touch()
    (tmp_path / "header.csv").write_text("id,time,flight_id,carrier,delay\n")
    for files, mixed in (({}, [tmp_path / "empty.jsonl"]), ({"arrival": tmp_path / "empty.csv"}, []),
                         ({"arrival": tmp_path / "header.csv"}, [])):  # fmt: skip
        done = replay(app, files, mixed=mixed)
        assert (done.events, done.counts["in"]) == (0, 0)
        assert done.report()["metrics"]["late"]["overall"] == {}
    one = replay(app, {}, mixed=[write_lines(tmp_path / "one.jsonl", [departure(1)])])
    assert one.counts["applied"] == 1


def test_a_file_of_one_stream_has_to_name_it(app, tmp_path):
    (tmp_path / "x.csv").write_text("time,flight_id\n")
    with pytest.raises(Fatal, match="which has to be named"):
        replay(app, {}, mixed=[tmp_path / "x.csv"])


@pytest.mark.parametrize(
    ("odd", "change"),
    {
        "all labels missing": lambda rows: [r for r in rows if r["stream"] == "departure"],
        "no outcome known": lambda rows: [r | {"delay": None} if "delay" in r else r for r in rows],
        "one class": lambda rows: [r | {"delay": 1.0} if "delay" in r else r for r in rows],
        "a constant column": lambda rows: [r | {"distance": 5.0} if "distance" in r else r for r in rows],
        "a column of extremes": lambda rows: [
            r | {"distance": (1e308, -1e308, 1e-308, 0.0)[i % 4]} if "distance" in r else r for i, r in enumerate(rows)
        ],
        "extreme outcomes": lambda rows: [r | {"delay": 1e308 * (-1) ** i} if "delay" in r else r for i, r in enumerate(rows)],
        "every category new": lambda rows: [r | {"carrier": f"c{i}"} for i, r in enumerate(rows)],
    }.items(),
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_odd_data_never_give_a_score_that_is_not_finite(app, odd, change):
    run = LocalRun(app)
    decoder = Decoder(Shapes(app.streams), Limits())
    body = b"\n".join(json.dumps(row).encode() for row in change(events(300)))
    for piece in pieces(body, is_lines=True):
        window = decoder.window(piece, None, START_MS * 1000 + 10**12)
        assert not window.letters, odd
        run.log.append(window.batch)
    run.catch_up()
    for name, array in run.fold.arrays():
        if array.dtype.kind == "f" and ("weights" in name or "stats" in name):
            assert np.isfinite(array).all(), name
    for row in (departure(5), departure(999, flight_id="new"), departure(1, flight_id="x", distance=1e308, carrier="unseen")):
        fields = {k: v for k, v in row.items() if k not in {"stream", "id", "time"}}
        score = run.predict("late", **fields)["predictions"][0]["score"]
        assert np.isfinite(score), odd
        assert 0 <= score <= 1


@pytest.fixture(scope="module")
def history(app, tmp_path_factory):
    """A log on disk with its versions, and a late event, a dead letter and a control mark in it."""
    folder = tmp_path_factory.mktemp("history")
    log = open_log(f"lmdb://{folder}/log")
    decoder = Decoder(Shapes(app.streams), Limits())
    rows = [*events(400), departure(1, id="late"), {"stream": "arrival", "id": "bad"}]
    for piece in pieces(b"\n".join(json.dumps(row).encode() for row in rows), is_lines=True):
        log.append(decoder.window(piece, None, START_MS * 1000 + 10**12).batch)
    run = LocalRun(app)
    run.log.close()
    with Catalog(folder / "registry") as catalog:
        registrar = Registrar(app, catalog)
        for chunk in log.read(0):
            for due in run.fold.step(chunk).due:
                registrar.register(due)
    yield folder, log, run.fold
    log.close()


def test_an_exported_log_replays_to_the_same_state(app, history, tmp_path):
    _, log, fold = history
    done = export(log, tmp_path)
    assert done.events == {"departure": 401, "arrival": 400, "_dead": 1}
    read = pq.read_table(done.files["departure"])
    assert read.schema.names[:5] == ["seq", "id", "source", "time", "arrival"]
    assert read["seats"].null_count == 401 // 5 + 1 - (1 if read["seats"][-1].as_py() is not None else 0)
    again = replay(app, done.files)
    assert again.fold.state_hash() == fold.state_hash()
    assert again.counts["late"] == 1
    assert again.counts["quarantined"] == 1


def test_an_id_that_the_log_had_forgotten_is_replayed_as_the_log_had_it(app, tmp_path):
    log = MemoryLog(dedupe_for_ms=1000)
    decoder = Decoder(Shapes(app.streams), Limits())
    for day, row in enumerate((departure(1), departure(2), departure(1))):
        (piece,) = pieces(json.dumps(row).encode(), is_lines=True)
        log.append(decoder.window(piece, None, (START_MS + 86_400_000 * day) * 1000).batch)
    assert log.bounds()[1] == 3
    assert replay(app, export(log, tmp_path).files).events == 3


def test_an_export_overwrites_nothing_and_knows_its_streams(history, tmp_path):
    _, log, _ = history
    export(log, tmp_path, ["arrival"])
    assert [p.name for p in tmp_path.iterdir()] == ["arrival.parquet"]
    with pytest.raises(Fatal, match="would be overwritten"):
        export(log, tmp_path, ["arrival"])
    with pytest.raises(Fatal, match="no event of this stream"):
        export(log, tmp_path / "more", ["arrivals"])


def test_late_events_say_how_late(history):
    _, log, fold = history
    (found,) = late_events(log, [log.bounds()[1] - 2])
    assert (found.stream, found.id, found.time_ms) == ("departure", "late", START_MS + 60_000)
    assert found.behind_ms == 398 * 60_000
    assert sum(c["late"] for c in fold.counts().values()) == 1


def test_every_version_is_rebuilt_bit_for_bit_and_a_lost_file_is_put_back(app, history):
    folder, log, _ = history
    with Catalog(folder / "registry", read_only=True) as catalog:
        versions = catalog.list()
        assert len(versions) >= 3
        for version in versions:
            assert rebuild(app, log, version, catalog.artifacts).is_same
        lost = catalog.artifacts.path(versions[-1].sha256)
        data = lost.read_bytes()
        lost.unlink()
        assert rebuild(app, log, versions[-1], catalog.artifacts).restored
        assert lost.read_bytes() == data


def test_a_version_from_before_recipes_held_names_is_rebuilt_as_it_was(app, history, tmp_path):
    folder, log, _ = history
    with Catalog(folder / "registry", read_only=True) as catalog:
        version = catalog.list()[0]
        arrays = catalog.artifacts.get(version.sha256).arrays
    older = replace_in(version, recipe={k: v for k, v in version.recipe.items() if k != "names"})
    artifacts = Artifacts(tmp_path)
    older = replace_in(older, sha256=artifacts.put(arrays, header(older)))
    assert older.sha256 != version.sha256
    assert rebuild(app, log, older, artifacts).is_same


def test_a_rebuild_that_cannot_be_is_refused(app, history):
    folder, log, _ = history
    with Catalog(folder / "registry", read_only=True) as catalog:
        version = catalog.list()[0]
        with pytest.raises(WrongState, match="the log ends before"), closing(MemoryLog()) as empty:
            rebuild(app, empty, version, catalog.artifacts)
        elsewhere = dict(version.recipe) | {"libraries": {**version.recipe["libraries"], "numpy": "1.0"}}
        with pytest.raises(Fatal, match=r"another recipe.*libraries.numpy = 1.0"):
            rebuild(app, log, replace_in(version, recipe=elsewhere), catalog.artifacts)
        with pytest.raises(Fatal, match="no such model"):
            rebuild(app, log, replace_in(version, line="lat"), catalog.artifacts)
        with pytest.raises(Fatal, match="no version was due"):
            rebuild(app, log, replace_in(version, seq=version.seq + 1), catalog.artifacts)


def test_a_rebuild_after_retention_is_refused(app, history, tmp_path):
    folder, log, _ = history
    short = open_log(f"lmdb://{tmp_path}/log")
    for chunk in log.read(0, 100):
        short.append(chunk.batch)
    short.retain(max_bytes=1)
    with Catalog(folder / "registry", read_only=True) as catalog, closing(short), pytest.raises(EventsDropped):
        rebuild(app, short, catalog.list()[0], catalog.artifacts)


def test_a_replay_keeps_the_vectors_that_were_scored(app, mixed, plain, tmp_path):
    """Whatever the batches and restarts, the history is the same; and every question of the log that counts is in it."""
    for folder, options in (("a", {}), ("b", {"batch": 37, "restarts": 2})):
        done = replay(app, {}, mixed=[mixed], vectors=tmp_path / folder, **options)
        assert done.fold.state_hash() == plain.fold.state_hash()
    first, second = (History(tmp_path / folder / "late").read() for folder in ("a", "b"))
    assert first.equals(second)
    assert first.num_rows == plain.fold.models["late"].report()["questions"]["scored"]
