"""A saved value that was altered is found, wherever it was altered, and named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.core.errors import CorruptData
from headwater.store import checkpoint, deltas
from headwater.store.checkpoint import FORMAT, Checkpoints, Differ, Save, SavedMeta
from headwater.store.sealed import sealed, unsealed


@given(st.binary(max_size=200), st.binary(min_size=1, max_size=40), st.integers(0, 10_000))
def test_any_flipped_bit_is_found_or_has_no_effect(value: bytes, key: bytes, at: int) -> None:
    stored = bytearray(sealed(key, value))
    stored[at // 8 % len(stored)] ^= 1 << at % 8
    try:
        found = bytes(unsealed(key, bytes(stored), "here"))
    except CorruptData:
        return
    assert found[: len(value)] == value  # the mark itself was hit: the value is whole


def test_a_value_under_another_key_is_found() -> None:
    with pytest.raises(CorruptData, match="altered"):
        unsealed(b"b", sealed(b"a", b"x" * 50), "here")


def _filled(path: Path) -> Checkpoints:
    store, differ = Checkpoints(path), Differ()
    for seq in range(3):
        save = Save(SavedMeta(FORMAT, "app", seq, {}, {}))
        differ.add(save, "small", np.full(100, float(seq)))
        differ.add(save, "rows", np.full((50, 4), float(seq)), np.arange(seq * 10, seq * 10 + 10))
        save.outbox.append(("judged", seq.to_bytes(8, "big"), b"row"))
        store.save(save)
        store.wait()
    return store


def test_a_changed_byte_in_the_file_of_a_state_is_named(tmp_path: Path) -> None:
    _filled(tmp_path).close()
    file = tmp_path / "data.mdb"
    content = file.read_bytes()
    at = content.rindex(np.full(100, 2.0).tobytes())
    file.write_bytes(content[: at + 400] + b"\xff" + content[at + 401 :])
    with pytest.raises(CorruptData, match=r"small\[0\].*altered"):
        Checkpoints(tmp_path).load("app")


def test_a_save_from_before_there_were_checksums_is_read_and_written_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (checkpoint, deltas):
        monkeypatch.setattr(module, "sealed", lambda _key, value: value)
    _filled(tmp_path).close()
    monkeypatch.undo()
    store = Checkpoints(tmp_path)
    loaded = store.load("app")
    assert loaded is not None
    assert loaded[1]["small"].tolist() == [2.0] * 100
    assert loaded[1]["rows"][:, 0].tolist() == [0.0] * 10 + [1.0] * 10 + [2.0] * 10 + [0.0] * 20
    assert [value for _, value in store.outbox("judged")] == [b"row"] * 3
