"""A state directory of every earlier format opens, answers as it did and folds on; a newer one is refused and left as it is."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path

import lmdb
import pytest
from tests.formats.freeze import APP, CUT, END, FROZEN, JOBS, answers, fold_on, settings_of

from headwater.core.errors import CorruptData, Fatal, WrongState
from headwater.following.notices import Notices
from headwater.log.open import open_log
from headwater.log.soundness import check_environment
from headwater.planning.ledger import FILE_NAME as LEDGER
from headwater.planning.ledger import Ledger
from headwater.registry.catalog import Catalog
from headwater.runtime.checkpointing import Checkpointer, restore
from headwater.runtime.declared import load_app
from headwater.runtime.fold import Fold
from headwater.runtime.places import FOLLOWING, PLANNING, STATE, STOPPED
from headwater.runtime.supervisor import check_after_crash, claim_state
from headwater.serving.keys import KeyFile, Keyring
from headwater.serving.scopes import EVERYTHING
from headwater.store.checkpoint import Checkpoints

ALL = sorted(path.name for path in FROZEN.glob("state-*.tar.xz"))
BESIDE = sorted(path.name for path in FROZEN.glob("beside-*.tar.xz"))
NEWEST = ALL[-1]


@pytest.fixture(scope="module")
def app():
    return load_app(APP)


@pytest.fixture
def opened(tmp_path):
    """A frozen directory, unpacked."""

    def unpack(name: str = NEWEST) -> Path:
        place = tmp_path / name
        with tarfile.open(FROZEN / name) as archive:
            archive.extractall(place, filter="data")
        return place

    return unpack


@pytest.mark.parametrize("name", ALL)
def test_it_answers_as_it_did_and_folds_on(app, opened, name):
    place = opened(name)
    expected = json.loads((place / "expected.json").read_text())
    claim_state(place, app)
    assert answers(app, place) == expected["answers"]
    fold, anew = fold_on(app, place, CUT, END), Fold(app)
    assert fold.seq > expected["seq"]
    with closing(open_log(settings_of(place).log_url, readonly=True)) as log:
        for chunk in log.read(0):
            anew.step(chunk)
    for model, line in anew.models.items():
        for part, array in line.learner.arrays().items():
            assert fold.models[model].learner.arrays()[part].tobytes() == array.tobytes(), (model, part)
        assert fold.models[model].pending.canonical()["rows"].tobytes() == line.pending.canonical()["rows"].tobytes()
    with closing(Catalog(settings_of(place).registry_dir)) as catalog:
        assert len(catalog.list()) == 5  # three of `high` and two of `level`, some of them frozen, some new


@pytest.mark.parametrize("name", BESIDE)
def test_keys_and_a_ledger_are_what_they_were_and_go_on(opened, name):
    place = opened(name)
    keys = KeyFile(place)
    ring = Keyring(keys.read(), keys.now())
    texts = json.loads((place / "expected.json").read_text())
    assert [ring.scopes(texts["ingest"]), ring.scopes(texts["predict"])] == [{"ingest"}, None]
    keys.add("more", EVERYTHING, lasts_ms=1000)
    assert [key.name for key in keys.read()] == ["ingest", "predict", "more"]
    for n in (len(JOBS), len(JOBS) + 1):
        with closing(Ledger(place / PLANNING / LEDGER)) as ledger:
            assert ledger.jobs() == [*JOBS, JOBS[0]][:n]
            ledger.append(JOBS[0])


def test_a_newer_app_file_is_refused(app, opened):
    place = opened()
    (place / "app.json").write_text(json.dumps({"format": 99, "app": app.name}))
    with pytest.raises(WrongState, match="format"):
        claim_state(place, app)


def test_a_newer_save_is_refused(app, opened, monkeypatch):
    place = opened()
    monkeypatch.setattr(f"{Checkpointer.__module__}.FORMAT", 99)
    fold_on(app, place, CUT, END)
    with closing(Checkpoints(place / STATE)) as store, pytest.raises(WrongState, match="format 99"):
        restore(app, store)


def test_a_newer_log_is_refused(opened):
    place = opened()
    with closing(lmdb.open(str(place / "log"), max_dbs=4)) as env, env.begin(write=True) as txn:
        txn.put(b"format", b"headwater-log-99", db=env.open_db(b"meta", txn))
    with pytest.raises(WrongState, match="format"):
        open_log(settings_of(place).log_url)


@pytest.mark.parametrize(
    ("file", "open_it"),
    [
        ("following/notices.sqlite", lambda place: Notices(place / FOLLOWING)),
        ("registry/catalog.sqlite", lambda place: Catalog(settings_of(place).registry_dir)),
    ],
)
def test_a_newer_database_is_refused_and_not_changed(opened, file, open_it):
    place = opened()
    with closing(sqlite3.connect(place / file)) as db:
        db.execute("PRAGMA user_version = 99")
        before = list(db.iterdump())
    with pytest.raises(Fatal, match=r"format|newer"):
        open_it(place)
    with closing(sqlite3.connect(place / file)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (99,)
        assert list(db.iterdump()) == before


def test_an_old_log_restored_beside_a_newer_state_is_noticed(app, opened):
    place = opened()
    shutil.copytree(place / "log", place / "backup")
    fold_on(app, place, CUT, END)
    shutil.rmtree(place / "log")
    (place / "backup").rename(place / "log")
    with pytest.raises(WrongState, match="the state has seen more than the log holds"):
        fold_on(app, place, END, END)


def test_an_old_state_restored_beside_a_newer_log_is_folded_on(app, opened):
    place = opened()
    shutil.copytree(place / STATE, place / "backup")
    newer = fold_on(app, place, CUT, END).state_hash()
    shutil.rmtree(place / STATE)
    (place / "backup").rename(place / STATE)
    assert fold_on(app, place, END, END).state_hash() == newer


@pytest.mark.parametrize("folder", ["log", STATE])
def test_a_file_that_was_cut_short_is_named_before_anybody_maps_it(opened, folder):
    place = opened()
    check_after_crash(settings_of(place))  # nothing says that it was stopped in order, and nothing is wrong
    file = place / folder / "data.mdb"
    os.truncate(file, file.stat().st_size // 2)
    with pytest.raises(CorruptData, match=str(file)):
        check_after_crash(settings_of(place))
    (place / STOPPED).touch()
    check_after_crash(settings_of(place))  # after a clean stop nobody looks
    assert not (place / STOPPED).exists()


def test_a_child_that_is_killed_says_which_signal(opened, monkeypatch):
    monkeypatch.setattr("headwater.log.soundness.walk", lambda _: os.kill(os.getpid(), signal.SIGBUS))
    with pytest.raises(CorruptData, match="SIGBUS"):
        check_environment(opened() / "log")


def test_frozen_directories_are_small():
    assert ALL
    assert sum((FROZEN / name).stat().st_size for name in ALL) < 300_000
