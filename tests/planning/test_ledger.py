"""The ledger keeps what it was given, and only grows."""

from __future__ import annotations

import sqlite3

import pytest

from headwater.core.errors import CorruptData, WrongState
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
    with pytest.raises(CorruptData, match="no ledger"):
        Ledger(path)


def test_a_ledger_of_the_first_format_is_brought_to_the_present_one(tmp_path):
    path = tmp_path / "ledger.sqlite"
    columns = "at_ms INTEGER, kind TEXT, rows INTEGER, estimate_core_s REAL, core_s REAL, outcome TEXT, why TEXT"
    db = sqlite3.connect(path)
    db.executescript(
        f"CREATE TABLE jobs (seq INTEGER PRIMARY KEY, {columns}); PRAGMA user_version = 1;"
        "INSERT INTO jobs VALUES (NULL, 1, 'fit', 1000, 0.4, 0.5, 'served', 'Refit: it was due.');"
    )
    db.close()
    with Ledger(path) as ledger:
        assert ledger.jobs() == [job(1)]
        ledger.append(Job(2, "gain", 10, 0.0, 0.0, "done", "", "m", "full", 3.5))
    with Ledger(path, read_only=True) as ledger:
        assert ledger.gained() == 3.5
        assert [(day.model, day.method, day.jobs, day.gained_loss) for day in ledger.days()] == [
            ("", "", 1, 0.0),
            ("m", "full", 0, 3.5),
        ]


def test_a_ledger_that_is_not_there_or_of_a_newer_format_is_told(tmp_path):
    with pytest.raises(WrongState, match="no ledger here"):
        Ledger(tmp_path / "none.sqlite", read_only=True)
    db = sqlite3.connect(tmp_path / "new.sqlite")
    db.execute("PRAGMA user_version = 9")
    db.close()
    with pytest.raises(CorruptData, match="another format; expected 2; got 9"):
        Ledger(tmp_path / "new.sqlite")
