"""The benchmark's own arithmetic, JSON and command line. No time is measured here."""

from __future__ import annotations

import json

import pytest
from bench.load import request
from bench.paths.compute import difference
from bench.report import number, page
from bench.result import Figure, Result, Spec, figure, ratio
from bench.row import Row, Size
from bench.rows import ROWS, SLUGS

from bench import __main__ as command

KEYS = {
    "slug",
    "peer",
    "value",
    "low",
    "high",
    "unit",
    "better",
    "reach",
    "moonshot",
    "ok",
    "ours",
    "theirs",
    "n",
    "rounds",
    "cpu",
    "versions",
}
HIGHER, LOWER = Spec("up", "x", "higher", 12, 30), Spec("down", "ms", "lower", 6, 4)


def result(spec=HIGHER, value=15.0, *, is_right=True):
    return Result(
        spec, "Peer", Figure(value, value - 1, value + 1), 30.0, 2.0, "events per CPU-second", 10, 3, is_right, {"peer": "1.0"}
    )


def row(measure):
    return Row((HIGHER,), "a path", "Peer", "does this", "does that", measure)


def test_a_ratio_is_the_median_of_the_rounds_with_its_range():
    assert ratio([10, 40, 30], [10, 10, 10]) == Figure(3.0, 1.0, 4.0)
    assert figure([5.0]) == Figure(5.0, 5.0, 5.0)
    with pytest.raises(ValueError, match="shorter"):
        ratio([1.0, 2.0], [1.0])


def test_a_row_is_ok_where_it_reaches_its_middle_column_and_both_sides_agree():
    assert result(value=12.0).row("cpu")["ok"]
    assert not result(value=11.9).row("cpu")["ok"]
    assert not result(value=12.0, is_right=False).row("cpu")["ok"]
    assert result(LOWER, 6.0).row("cpu")["ok"]
    assert not result(LOWER, 6.1).row("cpu")["ok"]


def test_the_json_has_the_promised_keys():
    told = json.loads(json.dumps(result().row("a processor, 2 cores")))
    assert set(told) >= KEYS
    assert (told["value"], told["low"], told["high"], told["cpu"]) == (15.0, 14.0, 16.0, "a processor, 2 cores")


def test_every_row_says_what_each_side_does():
    assert len(set(SLUGS)) == len(SLUGS)
    for each in ROWS:
        assert each.ours
        assert each.theirs
        assert each.peer or not each.environments
        for spec in each.specs:
            beyond = spec.moonshot > spec.reach if spec.better == "higher" else spec.moonshot < spec.reach
            assert beyond or spec.moonshot == spec.reach == 0  # nothing is better than no failure


def test_list(capsys):
    assert command.main(["--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(SLUGS)


def test_an_unknown_slug_is_refused(capsys):
    with pytest.raises(SystemExit):
        command.main(["--only", "nonsense"])
    assert "nonsense" in capsys.readouterr().err


def test_a_run_writes_json_and_page(monkeypatch, tmp_path, capsys):
    sizes = []
    monkeypatch.setattr(command, "ROWS", (row(lambda _row, size: sizes.append(size) or [result()]),))
    assert command.main(["--quick", "--json", str(tmp_path / "rows.json"), "--page", str(tmp_path / "page.md")]) == 0
    assert sizes == [Size(is_quick=True)]
    assert [r["slug"] for r in json.loads((tmp_path / "rows.json").read_text())] == ["up"]
    assert "## up" in (tmp_path / "page.md").read_text()
    assert "up" in capsys.readouterr().out


def test_a_wrong_result_fails_the_run(monkeypatch, tmp_path):
    monkeypatch.setattr(command, "ROWS", (row(lambda *_: [result(is_right=False)]),))
    assert command.main(["--page", str(tmp_path / "page.md")]) == 1
    assert "does not count" in (tmp_path / "page.md").read_text()


def test_the_page_says_that_the_machine_was_busy():
    rows = [row(lambda *_: [])]
    assert "a busy machine" in page(rows, [result()], "a processor", busy=True, quick=False)
    assert "a busy machine" not in page(rows, [result()], "a processor", busy=False, quick=False)


def test_scores_of_different_length_are_different(tmp_path):
    import array  # noqa: PLC0415

    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(array.array("d", [1.0, 2.0]).tobytes())
    two.write_bytes(array.array("d", [1.0, 2.5]).tobytes())
    assert difference(one, two) == 0.5
    two.write_bytes(b"")
    assert difference(one, two) == float("inf")


def test_numbers_are_short():
    assert [number(v) for v in (1234567.0, 12.345, None)] == ["1,234,567", "12.3", "–"]


def test_a_request_is_whole():
    assert (
        request("/a", b"{}")
        == b"POST /a HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
    )
