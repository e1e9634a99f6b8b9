"""versions, show, diff."""

from __future__ import annotations

import pytest

from headwater.cli import main


def test_versions_are_listed(done, state):
    out = done("versions", "--state", state)
    assert [line.split()[0] for line in out.splitlines()] == ["version", "late@100", "late@200"]
    assert "1970-01-02 00:00:00 UTC" in out
    assert [v["name"] for v in done("versions", "late", "--state", state, "--json")] == ["late@100", "late@200"]


def test_a_version_is_shown_with_all_that_is_known(done, state):
    out = done("show", "late@2", "--state", state)
    for said in ("late@200", "parent", "late@100", "parameters.step", "0.2", "log_loss", "0.4", "float64", "5.83095"):
        assert said in out
    found = done("show", "late", "--state", state, "--json")
    assert found["recipe"] == {"code": "c0de", "parameters": {"step": 0.2}}
    assert found["header"] == {"learner": "linear"}
    assert found["arrays"][0]["shape"] == [2]


def test_two_versions_are_compared(done, state):
    out = done("diff", "late@100", "late@200", "--state", state)
    assert [line.split() for line in out.splitlines() if line.split()[0] in {"parameters.step", "log_loss", "weights"}] == [
        ["parameters.step", "0.1", "0.2"],
        ["log_loss", "0.5", "0.4"],
        ["weights", "5", "5.83095", "1", "1"],
    ]
    found = done("diff", "late@100", "late@200", "--state", state, "--json")
    assert found["recipe"] == {"parameters.step": [0.1, 0.2]}
    assert "have the same bytes" in done("diff", "late@100", "late@100", "--state", state)


def test_an_altered_file_is_refused(state, capsys):
    for path in (state / "registry" / "versions").iterdir():
        path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    with pytest.raises(SystemExit, match="1"):
        main.run(["show", "late", "--state", str(state)])
    assert "altered or cut short" in capsys.readouterr().err


def test_a_mistyped_name_gets_the_nearest(state, capsys):
    with pytest.raises(SystemExit, match="1"):
        main.run(["show", "laet@100", "--state", str(state)])
    assert "Did you mean late@100" in capsys.readouterr().err
