"""Rows that are not what was written are named; files of an earlier format get checksums."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest

from headwater.core import crashpoints
from headwater.core.errors import CorruptData, EventsDropped, HeadwaterError, WrongState
from headwater.following import PLANS, VERSIONS, Cursors, Notices, Parked
from headwater.following.cursors import FILE_NAME as CONSUMERS
from headwater.following.notices import FILE_NAME as NOTICES
from headwater.following.notices import Said

N = 40
FLIPS = 150  # of each file
LOWERED = {
    NOTICES: ("ALTER TABLE notices DROP COLUMN sum",),
    CONSUMERS: ("ALTER TABLE consumers DROP COLUMN sum", "ALTER TABLE parked DROP COLUMN sum"),
}


def fill(folder: Path) -> None:
    """Some of everything, at rest."""
    with closing(Notices(folder)) as notices:
        for odd, name in enumerate((VERSIONS, PLANS)):
            at = range(odd, N, 2)
            notices.append_all(name, [Said(f"late@{i}", 1_767_225_600_000 + i, {"seq": i, "why": f"reason {i}"}) for i in at])
    with closing(Cursors(folder)) as cursors:
        cursors.claim("notify", "order", "handler", 3)
        cursors.claim("gone", "order", "webhook", 0)
        cursors.retire_others(["notify"])
        cursors.move("notify", 1042, 17)
        for seq in range(5, 9):
            cursors.park(Parked("notify", seq, 1_767_225_600_000_000 + seq, "Fatal: no", f'{{"id": "o{seq}"}}'), 1043)
        cursors.want("notify", [6])
        cursors.fail("notify", 2, 1_767_225_600_000_999, "OSError: not now")


def told(folder: Path) -> dict[str, Any]:
    """All that can be read of it."""
    with closing(Notices(folder)) as notices, closing(Cursors(folder)) as cursors:
        notices.check()
        said: dict[str, Any] = {name: rows(notices, name) for name in notices.names()}
        return said | {"all": cursors.all(), "parked": cursors.parked(), "wanted": cursors.wanted("notify")}


def rows(notices: Notices, name: str, at: int = 0) -> list[tuple[Any, ...]]:
    stream, found = notices.stream(name), list[tuple[Any, ...]]()
    while at < stream.bounds()[1]:
        page = stream.read(at, 1000, 1 << 30)
        data = page.rows.frames[name].columns["data"].to_list()
        found += zip(page.seq.tolist(), page.rows.ids.to_list(), page.rows.time.tolist(), data, strict=True)
        at = page.next
    return found


def change(file: Path, *statements: str) -> None:
    """Write as somebody, or something, else would."""
    with closing(sqlite3.connect(file)) as db, db:
        for statement in statements:
            db.execute(statement)


def lower(folder: Path) -> None:
    """Make of the files what an earlier release would have left."""
    for name, statements in LOWERED.items():
        change(folder / name, *statements, "PRAGMA user_version = 1")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("filled")
    fill(place)
    return place


@pytest.fixture
def folder(filled: Path, tmp_path: Path) -> Path:
    return shutil.copytree(filled, tmp_path / "following")


@pytest.mark.parametrize("altered", ["id = 'late@900'", "time_ms = time_ms + 1", "data = '{}'", "sum = sum + 1"])
def test_an_altered_notice_is_named_and_not_told(folder, altered):
    change(
        folder / NOTICES,
        "DROP TRIGGER notices_are_immutable",
        f"UPDATE notices SET {altered} WHERE stream = '_plans' AND seq = 7",
    )
    with closing(Notices(folder)) as notices:
        page = notices.stream(PLANS).read(0, 100, 1 << 30)
        assert (page.n, page.next, page.end) == (7, 7, N // 2)  # what lies before it is told first
        with pytest.raises(CorruptData, match=r"notices\.sqlite, notices _plans 7: a row was altered; expected checksum"):
            notices.stream(PLANS).read(7, 100, 1 << 30)
        assert len(rows(notices, VERSIONS)) == N // 2


def test_a_notice_that_is_gone_is_named(folder):
    change(folder / NOTICES, "DELETE FROM notices WHERE stream = '_plans' AND seq = 7")
    with closing(Notices(folder)) as notices, pytest.raises(CorruptData, match=r"_plans 7: a notice is missing.*got seq 8"):
        rows(notices, PLANS)


def test_what_was_trimmed_is_not_missing(folder):
    with closing(Notices(folder)) as notices:
        notices.trim(PLANS, 5)
        with pytest.raises(EventsDropped):
            notices.stream(PLANS).read(0, 100, 1 << 30)
        assert [row[0] for row in rows(notices, PLANS, N // 2 - 5)] == list(range(N // 2 - 5, N // 2))


def test_notices_that_the_state_knows_of_are_missed(folder):
    with closing(Notices(folder)) as notices:
        before = notices.ends()
        shutil.copy(folder / NOTICES, folder / "older")
        notices.append(PLANS, "late@1000", 0, {})
        known = notices.ends()
        assert known["ends"] == {**before["ends"], PLANS: N // 2 + 1}
    with closing(Notices(folder)) as notices:
        notices.check(known)
        notices.check(before)
    (folder / "older").replace(folder / NOTICES)
    with closing(Notices(folder)) as notices, pytest.raises(CorruptData, match=r"_plans: notices are missing.*21; got 20"):
        notices.check(known)
    (folder / NOTICES).unlink()  # moved away
    with closing(Notices(folder)) as notices:
        notices.check(known)


def test_any_flipped_bit_of_a_journal_is_named_or_has_no_effect(tmp_path):
    """After a kill the newest notices are in the journal only, and SQLite drops what is behind a damaged frame of it."""
    (place := tmp_path / "place").mkdir()
    files, random, n_named = (NOTICES, f"{NOTICES}-wal"), Random(5), 0
    with closing(Notices(place)) as notices:
        for i in range(20):
            notices.append(PLANS, f"late@{i}", i, {"seq": i})
        wanted, known = rows(notices, PLANS), notices.ends()
        left = {name: (place / name).read_bytes() for name in files}
    whole = left[files[1]]
    for _ in range(FLIPS):
        content, at = bytearray(whole), random.randrange(len(whole))
        content[at] ^= 1 << random.randrange(8)
        shutil.rmtree(place)
        place.mkdir()
        (place / files[0]).write_bytes(left[files[0]])
        (place / files[1]).write_bytes(content)
        found = wanted
        try:
            with closing(Notices(place)) as notices:
                notices.check(known)
                found = rows(notices, PLANS)
        except CorruptData as error:
            n_named += NOTICES in str(error) and bool(error.next_step)
        assert found == wanted, at
    assert n_named > FLIPS / 2


@pytest.mark.parametrize(
    ("altered", "look"),
    [
        ("UPDATE consumers SET next = 18 WHERE name = 'notify'", lambda cursors: cursors.of("notify")),
        (
            "UPDATE consumers SET stream = 'orders' WHERE name = 'notify'",
            lambda cursors: cursors.claim("notify", "orders", "handler", 0),
        ),
        ("UPDATE consumers SET next = 18 WHERE name = 'notify'", lambda cursors: cursors.move("notify", 19, 1)),
        ("UPDATE consumers SET is_active = 0 WHERE name = 'notify'", lambda cursors: cursors.all()),
        ("UPDATE parked SET event = '{}' WHERE seq = 7", lambda cursors: cursors.parked()),
        ("UPDATE parked SET seq = 77 WHERE seq = 7", lambda cursors: cursors.parked("notify")),
        ("UPDATE parked SET event = '{}' WHERE seq = 7", lambda cursors: cursors.want("notify")),
        ("UPDATE parked SET is_wanted = 1 WHERE seq = 7", lambda cursors: cursors.wanted("notify")),
    ],
)
def test_an_altered_cursor_or_parked_event_is_named_and_not_believed(folder, altered: str, look: Callable[[Cursors], object]):
    change(folder / CONSUMERS, altered)
    with closing(sqlite3.connect(folder / CONSUMERS)) as db:
        before = list(db.iterdump())
    with closing(Cursors(folder)) as cursors, pytest.raises(CorruptData, match=r"consumers\.sqlite, .*: a row was altered"):
        look(cursors)
    with closing(sqlite3.connect(folder / CONSUMERS)) as db:
        assert list(db.iterdump()) == before  # nothing was written over it, and no checksum hides it


@pytest.mark.parametrize("name", [NOTICES, CONSUMERS])
def test_any_flipped_bit_is_named_or_has_no_effect(folder, name):
    wanted, random = told(folder), Random(5)
    whole, n_named, n_without_effect = (folder / name).read_bytes(), 0, 0
    for _ in range(FLIPS):
        content, at = bytearray(whole), random.randrange(len(whole))
        content[at] ^= 1 << random.randrange(8)
        for file in folder.glob(f"{name}*"):
            file.unlink()
        (folder / name).write_bytes(content)
        try:
            found = told(folder)
        except HeadwaterError as error:
            found, n_named = wanted, n_named + (name in str(error) and bool(error.next_step))
        else:
            n_without_effect += 1
        assert found == wanted, at
    assert n_named + n_without_effect == FLIPS
    assert n_named > FLIPS / 20


def test_files_of_the_format_before_are_read_as_they_are_and_brought_up_to_date(folder):
    wanted = told(folder)
    lower(folder)
    with closing(Cursors(folder, read_only=True)) as cursors:
        assert (cursors.all(), cursors.parked()) == (wanted["all"], wanted["parked"])
    with closing(sqlite3.connect(folder / CONSUMERS)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
    assert told(folder) == wanted
    change(folder / NOTICES, "DROP TRIGGER notices_are_immutable", "UPDATE notices SET data = '{}' WHERE seq = 7")
    with pytest.raises(CorruptData, match="altered"):
        told(folder)


def test_an_upgrade_that_is_cut_short_leaves_what_was_there(folder):
    wanted = told(folder)
    lower(folder)

    def fail(name: str) -> None:
        assert name != "database.upgrading"

    for name, start in ((NOTICES, Notices), (CONSUMERS, Cursors)):
        with closing(sqlite3.connect(folder / name)) as db:
            before = list(db.iterdump())
        crashpoints.arm(fail)
        try:
            with pytest.raises(AssertionError):
                start(folder)
        finally:
            crashpoints.arm(None)
        with closing(sqlite3.connect(folder / name)) as db:
            assert list(db.iterdump()) == before
            assert db.execute("PRAGMA user_version").fetchone() == (1,)
    assert told(folder) == wanted


@pytest.mark.parametrize(("name", "start"), [(NOTICES, Notices), (CONSUMERS, Cursors)])
def test_a_newer_format_is_refused_and_not_changed(folder, name, start):
    change(folder / name, "PRAGMA user_version = 3")
    with pytest.raises(WrongState, match=r"expected format 2; got format 3"):
        start(folder)
