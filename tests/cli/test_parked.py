"""parked list, parked retry."""

from __future__ import annotations

import pytest

from headwater.cli import main
from headwater.following import Cursors, Parked


@pytest.fixture
def parked(tmp_path):
    cursors = Cursors(tmp_path / "following")
    cursors.claim("notify", "order", "handler", 0)
    for seq in (3, 5):
        cursors.park(Parked("notify", seq, 1_357_000_000_000_000, "Fatal: \x1b[2J no", f'{{"seq": {seq}}}'), seq + 1)
    yield cursors
    cursors.close()


def test_parked_events_are_listed_with_their_reason(done, parked, tmp_path):
    out = done("parked", "list", "--state", tmp_path)
    assert "2013-01-01 00:26:40 UTC" in out
    assert "Fatal: \\x1b[2J no" in out
    (hidden, _) = done("parked", "list", "notify", "--state", tmp_path, "--json")
    assert hidden["event"].startswith("*** (")
    (first, _) = done("parked", "list", "notify", "--state", tmp_path, "--json", "--personal")
    assert (first["consumer"], first["seq"], first["event"]) == ("notify", 3, {"seq": 3})
    assert done("parked", "list", "another", "--state", tmp_path, "--json") == []


def test_some_or_all_are_wanted_again(done, parked, tmp_path):
    assert "1 parked events of notify" in done("parked", "retry", "notify", 5, "--state", tmp_path)
    assert parked.wanted("notify") == [5]
    assert "2 parked events" in done("parked", "retry", "notify", "--state", tmp_path)
    assert parked.wanted("notify") == [3, 5]


def test_a_wish_for_nothing_is_a_failure(parked, tmp_path, capsys):
    for arguments in (["notify", "4"], ["another"]):
        with pytest.raises(SystemExit) as left:
            main.run(["parked", "retry", *arguments, "--state", str(tmp_path)])
        assert left.value.code == 1
    assert "0 parked events" in capsys.readouterr().out


def test_without_consumers_it_says_so(tmp_path, capsys):
    with pytest.raises(SystemExit) as left:
        main.run(["parked", "list", "--state", str(tmp_path)])
    assert left.value.code == 1
    assert "nothing to read here" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
