"""Who wrote a version, and whether something newer was there."""

from __future__ import annotations

import json
import shutil
import sqlite3
import stat
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from headwater.core.errors import CorruptData, Untrusted, WrongState
from headwater.core.seals import Seal
from headwater.registry import Catalog, Version
from headwater.registry.artifact import canonical
from headwater.registry.catalog import FILE_NAME
from headwater.registry.heads import FILE_NAME as HEADS
from headwater.registry.signing import FILE_NAME as KEY
from headwater.registry.signing import InstallationKey, trust_folder

RECIPE = {"app": "a11", "libraries": {"numpy": "2.4"}}


def register(catalog, seq, line="late", weight=1.0):
    sha256 = catalog.artifacts.put({"weights": np.array([weight, seq])}, {"line": line, "seq": seq})
    made = Version(line, seq, sha256, 1_000, "midnight", RECIPE, metrics={"log_loss": 0.5}, cost_core_s=0.25)
    catalog.register(made)
    return made


@pytest.fixture
def registry(tmp_path):
    """A registry of three versions."""
    with Catalog(tmp_path / "registry") as catalog:
        for seq in (100, 200, 300):
            register(catalog, seq)
    return tmp_path / "registry"


def forge(registry, statement, *values):
    """Write to the catalogue as somebody would who has the file, and knows about its trigger."""
    with closing(sqlite3.connect(registry / FILE_NAME)) as outside, outside:
        outside.execute("DROP TRIGGER IF EXISTS versions_are_immutable")
        outside.execute(statement, values)


def opened(registry):
    """All that a command or a gateway can ask for, of every version."""
    with Catalog(registry, read_only=True) as catalog:
        return [catalog.artifacts.get(catalog.get(version.name).sha256) for version in catalog.list()]


def test_a_version_is_signed_as_it_is_registered(registry):
    key = InstallationKey.open(trust_folder(registry), make=False)
    with closing(sqlite3.connect(registry / FILE_NAME)) as outside:
        rows = outside.execute("SELECT line, seq, signature FROM versions").fetchall()
    with Catalog(registry, read_only=True) as catalog:
        for line, seq, signature in rows:
            said = f"headwater version/1\n{canonical(catalog.exact(line, seq).describe())}".encode()
            public = Ed25519PublicKey.from_public_bytes(key._public.public_bytes_raw())  # the library, and nothing of ours
            public.verify(bytes.fromhex(signature), said)
    assert len(rows) == len(opened(registry)) == 3


def test_an_entry_that_is_no_json_any_more_is_named_with_what_to_do(registry):
    forge(registry, "UPDATE versions SET metrics = '{' WHERE seq = 200")
    with pytest.raises(Untrusted, match=r"late@200: what the catalogue says.*Put the newest copy of the catalogue back"):
        opened(registry)


def test_the_key_is_its_owners_only_and_stays_the_same(registry):
    path = trust_folder(registry) / KEY
    before = path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    Catalog(registry).close()
    assert path.read_bytes() == before
    assert before not in b"".join(p.read_bytes() for p in registry.rglob("*") if p.is_file())


@pytest.mark.parametrize(
    ("column", "value"),
    [("sha256", "0" * 64), ("created_ms", 2), ("metrics", '{"log_loss":0.1}'), ("recipe", "{}"), ("parent", "late@1"),
     ("cost_core_s", 0.0), ("signature", ""), ("signature", "ab" * 64), ("signature", "no hex"), ("recipe", "[[[")],
)  # fmt: skip
def test_a_version_that_was_changed_is_refused(registry, column, value):
    forge(registry, f"UPDATE versions SET {column} = ? WHERE seq = 200", value)
    with pytest.raises(Untrusted, match=r"late@200"):
        opened(registry)
    with Catalog(registry) as catalog, pytest.raises(Untrusted, match="late@200"):
        catalog.exact("late", 200)


def test_a_signature_of_one_version_is_none_for_another(registry):
    """Yesterday's file under today's name: both rows are signed, and neither for the other's place."""
    forge(
        registry,
        "UPDATE versions SET (sha256, signature) = (SELECT sha256, signature FROM versions WHERE seq = 100) WHERE seq = 300",
    )
    with pytest.raises(Untrusted, match="late@300"):
        opened(registry)


def test_a_version_that_another_key_signed_is_refused(registry, tmp_path):
    with Catalog(tmp_path / "other" / "registry") as other:
        register(other, 100), register(other, 200), register(other, 300)
    shutil.copy(tmp_path / "other" / "registry" / FILE_NAME, registry / FILE_NAME)
    with pytest.raises(Untrusted, match=r"late@300: this version was not signed by this installation"):
        opened(registry)
    shutil.copy(trust_folder(tmp_path / "other" / "registry") / KEY, trust_folder(registry) / KEY)
    with pytest.raises(Untrusted, match="list of newest versions was not signed"):
        opened(registry)


def test_an_older_catalogue_is_refused(registry):
    """A catalogue from yesterday, whole and signed, is no downgrade that goes unseen."""
    yesterday = (registry / FILE_NAME).read_bytes()
    with Catalog(registry) as catalog:
        register(catalog, 400)
    (registry / FILE_NAME).write_bytes(yesterday)
    for read_only in (True, False):
        with pytest.raises(Untrusted, match=r"late@400: the catalogue is older.*got 3 versions, the newest late@300.*--accept"):
            Catalog(registry, read_only=read_only)


@pytest.mark.parametrize("seq", [100, 200, 300])
def test_a_version_that_is_gone_is_missed(registry, seq):
    forge(registry, "DELETE FROM versions WHERE seq = ?", seq)
    with pytest.raises(Untrusted, match="the catalogue is older"):
        opened(registry)


def test_a_lower_version_in_place_of_the_newest_is_refused(registry):
    forge(registry, "DELETE FROM versions WHERE seq = 300")
    forge(registry, "UPDATE versions SET seq = 300 WHERE seq = 200")
    with pytest.raises(Untrusted):
        opened(registry)


def test_a_lost_catalogue_is_not_begun_anew(registry):
    (registry / FILE_NAME).unlink()
    with pytest.raises(Untrusted, match="got 0 versions, the newest none"):
        Catalog(registry)


def test_what_was_put_back_on_purpose_can_be_accepted(registry):
    yesterday = (registry / FILE_NAME).read_bytes()
    with Catalog(registry) as catalog:
        register(catalog, 400)
    (registry / FILE_NAME).write_bytes(yesterday)
    assert Catalog.accept(registry) == 3
    assert len(opened(registry)) == 3
    forge(registry, "UPDATE versions SET created_ms = 5 WHERE seq = 100")
    with pytest.raises(Untrusted, match="late@100"):  # what is not signed cannot be
        Catalog.accept(registry)


def test_the_list_of_newest_versions_cannot_be_written_by_hand(registry):
    path = trust_folder(registry) / HEADS
    said = json.loads(path.read_text())
    said["heads"]["late"][2] = 1
    path.write_text(json.dumps(said))
    with pytest.raises(Untrusted, match="was not signed by this installation"):
        opened(registry)
    for damage in ("", "{", "[]", '{"heads": {}}', "[" * 100_000):
        path.write_text(damage)
        with pytest.raises(Untrusted, match="damaged"):
            opened(registry)


def test_a_reader_needs_the_key_and_makes_none(registry):
    (trust_folder(registry) / KEY).unlink()
    with pytest.raises(Untrusted, match="key cannot be read"):
        opened(registry)
    assert not (trust_folder(registry) / KEY).exists()
    with pytest.raises(Untrusted, match="was not signed by this installation"):
        Catalog(registry)  # a fresh key does not make others' versions ours


def unsigned(registry):
    """The same registry as a release without signatures left it."""
    shutil.rmtree(trust_folder(registry))
    forge(registry, "ALTER TABLE versions DROP COLUMN signature")
    forge(registry, "PRAGMA user_version = 1")
    forge(registry, "CREATE TRIGGER versions_are_immutable BEFORE UPDATE ON versions BEGIN SELECT RAISE(ABORT, 'no'); END")


def test_versions_of_a_release_without_signatures_are_signed_once(registry):
    unsigned(registry)
    with pytest.raises(WrongState, match=r"not signed yet.*headwater run"):
        opened(registry)
    with Catalog(registry) as catalog:
        assert catalog.n_signed_now == 3
        register(catalog, 400)
    assert len(opened(registry)) == 4
    with Catalog(registry) as again:
        assert again.n_signed_now == 0
    with closing(sqlite3.connect(registry / FILE_NAME)) as outside, pytest.raises(sqlite3.IntegrityError, match="immutable"):
        outside.execute("UPDATE versions SET created_ms = 0")


def test_an_unsigned_catalogue_does_not_take_a_signed_ones_place(registry):
    keep = trust_folder(registry).with_name("kept")
    shutil.copytree(trust_folder(registry), keep)
    unsigned(registry)
    shutil.rmtree(trust_folder(registry), ignore_errors=True)
    keep.rename(trust_folder(registry))
    with pytest.raises(Untrusted, match="has no signatures, and this installation signs its own"):
        Catalog(registry)


def test_a_head_behind_the_catalogue_catches_up(registry):
    """A crash between a version's row and its head."""
    path = trust_folder(registry) / HEADS
    behind = path.read_text()
    with Catalog(registry) as catalog:
        register(catalog, 400)
    path.write_text(behind)
    assert len(opened(registry)) == 4
    Catalog(registry).close()
    assert json.loads(path.read_text())["heads"]["late"][0] == 400


def test_an_older_place_registered_late_does_not_lower_the_head(registry):
    with Catalog(registry) as catalog:
        register(catalog, 50)
    assert json.loads((trust_folder(registry) / HEADS).read_text())["heads"]["late"][::2] == [300, 4]
    assert len(opened(registry)) == 4


def test_a_link_or_a_pipe_in_a_files_place_is_not_followed(registry, tmp_path):
    with Catalog(registry, read_only=True) as catalog:
        version = catalog.get("late")
        path = catalog.artifacts.path(version.sha256)
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(CorruptData, match="cannot be opened"):
            catalog.artifacts.get(version.sha256)
        path.unlink()
        path.mkdir()
        with pytest.raises(CorruptData, match="this is no file"):
            catalog.artifacts.get(version.sha256)


def test_a_seal_is_of_its_place_and_its_secret():
    ours, theirs = Seal(b"1" * 32), Seal(b"2" * 32)
    ours.check("a", b"state", ours.of("a", b"state"))
    for seal in (None, b"", theirs.of("a", b"state"), ours.of("b", b"state"), ours.of("as", b"tate"), ours.of("a", b"state2")):
        with pytest.raises(Untrusted, match="was not written by this installation"):
            ours.check("a", b"state", seal)


def test_costs_and_metrics_of_any_number_type_are_signed_as_they_are_read(tmp_path):
    with Catalog(tmp_path / "registry") as catalog:
        made = register(catalog, 1)
        catalog.register(replace(made, seq=2, cost_core_s=3, metrics={"auc": float("nan"), "n": 7}))
    assert len(opened(tmp_path / "registry")) == 2
