"""The ledger keeps what it was given, and only grows."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from random import Random

import pytest

from headwater.core.errors import CorruptData, HeadwaterError, WrongState
from headwater.planning.ledger import Job, Ledger


def job(at_ms, kind="fit", core_s=0.5):
    return Job(at_ms, kind, 1000, 0.4, core_s, "served", "Refit: it was due.")


def test_it_gives_back_what_it_was_given_after_a_restart(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        ledger.append(job(1))
        ledger.append(job(2, "probe", 0.25))
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        assert ledger.jobs() == [job(1), job(2, "probe", 0.25)]
        assert ledger.jobs("probe") == [job(2, "probe", 0.25)]
        assert (ledger.spent(), ledger.spent(2)) == (0.75, 0.25)


@pytest.mark.parametrize("change", ["UPDATE jobs SET core_s = 0", "DELETE FROM jobs"])
def test_rows_are_never_changed(tmp_path, change):
    path = tmp_path / "ledger.sqlite"
    with Ledger(path) as ledger:
        ledger.append(job(1))
    with sqlite3.connect(path) as db, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        db.execute(change)
    db.close()


def test_a_file_of_something_else_is_refused(tmp_path):
    path = tmp_path / "ledger.sqlite"
    path.write_text("this is no database at all, but long enough to look at " * 20)
    with pytest.raises(CorruptData, match="file is not a database"):
        Ledger(path)


ROW = "1, 'fit', 1000, 0.4, 0.5, 'served', 'Refit: it was due.'"
COLUMNS = "at_ms INTEGER, kind TEXT, rows INTEGER, estimate_core_s REAL, core_s REAL, outcome TEXT, why TEXT"
SECOND = "model TEXT NOT NULL DEFAULT '', method TEXT NOT NULL DEFAULT '', gained_loss REAL NOT NULL DEFAULT 0"
OLDER = {
    1: f"CREATE TABLE jobs (seq INTEGER PRIMARY KEY, {COLUMNS}); INSERT INTO jobs VALUES (NULL, {ROW});",
    2: f"CREATE TABLE jobs (seq INTEGER PRIMARY KEY, {COLUMNS}, {SECOND}); INSERT INTO jobs VALUES (NULL, {ROW}, '', '', 0);"
    "CREATE TRIGGER jobs_are_not_changed BEFORE UPDATE ON jobs BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;",
}


@pytest.mark.parametrize("format_", OLDER)
def test_a_ledger_of_an_older_format_is_brought_to_the_present_one(tmp_path, format_):
    path = tmp_path / "ledger.sqlite"
    with closing(sqlite3.connect(path)) as db:
        db.executescript(f"{OLDER[format_]} PRAGMA user_version = {format_};")
    if format_ == 1:
        with pytest.raises(WrongState, match="older format; expected format 2 to 3; got format 1"):
            Ledger(path, read_only=True)
    else:
        with Ledger(path, read_only=True) as ledger:
            assert ledger.jobs() == [job(1)]
    with Ledger(path) as ledger:
        assert ledger.jobs() == [job(1)]
        ledger.append(Job(2, "gain", 10, 0.0, 0.0, "done", "", "m", "full", 3.5))
    with Ledger(path, read_only=True) as ledger:
        assert ledger.gained() == 3.5
        assert [(day.model, day.method, day.jobs, day.gained_loss) for day in ledger.days()] == [
            ("", "", 1, 0.0),
            ("m", "full", 0, 3.5),
        ]
    with closing(sqlite3.connect(path)) as db, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        db.execute("UPDATE jobs SET core_s = 0")


def told(path):
    with Ledger(path) as ledger:
        return ledger.jobs(), ledger.days(), ledger.spent(), ledger.gained()


def test_any_flipped_bit_is_named_or_has_no_effect(tmp_path):
    path, random, n_named = tmp_path / "ledger.sqlite", Random(5), 0
    with Ledger(path) as ledger:
        for i in range(30):
            ledger.append(
                Job(i, "gain" if i % 3 else "fit", i, 0.5 * i, 0.25 * i, "done", f"because of {i}", "m", "full", 1.0 * i)
            )
    wanted, whole = told(path), path.read_bytes()
    for _ in range(200):
        content, at = bytearray(whole), random.randrange(len(whole))
        content[at] ^= 1 << random.randrange(8)
        for file in tmp_path.glob("ledger.sqlite*"):
            file.unlink()
        path.write_bytes(content)
        try:
            found = told(path)
        except HeadwaterError as error:
            found, n_named = wanted, n_named + ("ledger.sqlite" in str(error))
        assert found == wanted, at
    assert n_named > 10


def test_what_a_full_disk_has_no_room_for_is_added_once_there_is_some(tmp_path):
    path = tmp_path / "ledger.sqlite"
    with Ledger(path) as ledger:
        ledger._db.rows("PRAGMA max_page_count = 6")  # SQLite then says what it says of a full disk
        for at in range(200):
            ledger.append(job(at))
        n = len(ledger.jobs())
        assert 0 < n < 200
        ledger._db.rows("PRAGMA max_page_count = 1000")
        ledger.append(job(200))
    with Ledger(path) as ledger:
        assert ledger.jobs() == [job(at) for at in range(201)]


@pytest.mark.parametrize("look", [Ledger.jobs, Ledger.days, Ledger.spent, Ledger.gained])
def test_a_job_that_was_altered_is_named_and_not_believed(tmp_path, look):
    path = tmp_path / "ledger.sqlite"
    with Ledger(path) as ledger:
        ledger.append(job(1))
    with closing(sqlite3.connect(path)) as db, db:
        db.executescript("DROP TRIGGER jobs_are_not_changed; UPDATE jobs SET core_s = 0.1")
    with Ledger(path) as ledger, pytest.raises(CorruptData, match=r"ledger\.sqlite, jobs 1 1: a row was altered"):
        look(ledger)


def test_a_ledger_that_is_not_there_or_of_a_newer_format_is_told(tmp_path):
    with pytest.raises(WrongState, match="no ledger here"):
        Ledger(tmp_path / "none.sqlite", read_only=True)
    db = sqlite3.connect(tmp_path / "new.sqlite")
    db.execute("PRAGMA user_version = 9")
    db.close()
    with pytest.raises(WrongState, match="another format; expected format 3; got format 9"):
        Ledger(tmp_path / "new.sqlite")
