"""Files of every kind come to the same table, and a column may turn out late to be something else."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headwater.assess import reading
from headwater.assess.choices import Choices
from headwater.assess.columns import Form
from headwater.assess.encoding import prepare
from headwater.assess.table import read_table
from headwater.core.errors import Fatal
from headwater.core.hashing import NULL

from .conftest import drifting, save

CHOICES = Choices(label="label", time="ts")


def typed(table):
    return {**table, "x": list(map(float, table["x"])), "noise": list(map(float, table["noise"]))}


def as_jsonl(path, table):
    rows = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def as_gzip(path, table):
    plain = save(path.with_suffix(""), table)
    path.write_bytes(gzip.compress(plain.read_bytes()))
    return path


def as_parquet(path, table):
    stamps = pa.array([t.removesuffix("Z") for t in table["ts"]]).cast(pa.timestamp("us"))
    shops = pa.array(table["shop"]).dictionary_encode()
    pq.write_table(pa.table({**table, "ts": stamps, "shop": shops}), path)
    return path


def with_tabs(path, table):
    path.write_text("\n".join("\t".join(map(str, row)) for row in [list(table), *zip(*table.values(), strict=True)]))
    return path


@pytest.mark.parametrize(
    ("name", "write"),
    [("t.jsonl", as_jsonl), ("t.csv.gz", as_gzip), ("t.parquet", as_parquet), ("tabs.csv", with_tabs)],
)
def test_every_kind_of_file_comes_to_the_same_arrays(tmp_path, file, table, name, write):
    expected = prepare(file, CHOICES).encoded
    got = prepare(write(tmp_path / name, typed(table)), CHOICES).encoded
    assert got.names == expected.names == ("x", "noise", "shop")
    for field in ("xs", "cs", "y", "time_ms"):
        np.testing.assert_array_equal(getattr(got, field), getattr(expected, field))


def test_pieces_do_not_matter(monkeypatch, file):
    expected = prepare(file, CHOICES).encoded
    monkeypatch.setattr(reading, "BLOCK_BYTES", 1000)
    got = prepare(file, CHOICES).encoded
    np.testing.assert_array_equal(got.xs, expected.xs)
    np.testing.assert_array_equal(got.cs, expected.cs)


def test_a_column_that_is_empty_until_the_last_percent(monkeypatch, tmp_path, table):
    monkeypatch.setattr(reading, "BLOCK_BYTES", 1000)
    n = len(table["ts"])
    late_number = [""] * (n - 20) + [str(i) for i in range(20)]
    late_text = [""] * (n - 20) + ["north"] * 20
    made = read_table(save(tmp_path / "t.csv", {**table, "number": late_number, "text": late_text, "never": [""] * n}), CHOICES)
    number, text = made.columns["number"], made.columns["text"]
    assert number.form is Form.NUMBER
    assert np.isnan(number.values[:-20]).all()
    assert number.values[-20:].tolist() == list(range(20))
    assert text.form is Form.TEXT
    assert (text.values[:-20] == NULL).all()
    assert (text.values[-20:] != NULL).all()
    assert made.columns["never"].form is Form.EMPTY


@pytest.mark.parametrize("odd", ["n/a", "12345678901234567890"])
def test_a_text_among_numbers_is_found_wherever_it_stands(monkeypatch, tmp_path, table, odd):
    monkeypatch.setattr(reading, "BLOCK_BYTES", 1000)
    codes = [str(i % 7) for i in range(len(table["ts"]))]
    codes[-3] = odd
    column = read_table(save(tmp_path / "t.csv", {**table, "code": codes}), CHOICES).columns["code"]
    assert column.form is Form.TEXT
    assert len(set(column.values.tolist())) == 8
    assert column.values[0] == column.values[7] != column.values[1]


def test_a_label_that_becomes_a_text(monkeypatch, tmp_path, table):
    monkeypatch.setattr(reading, "BLOCK_BYTES", 1000)
    table["label"] = [str(i % 2) for i in range(len(table["ts"]))]
    table["label"][-1] = "maybe"
    label = read_table(save(tmp_path / "t.csv", table), CHOICES).label
    assert (label.task, label.classes) == ("multiclass", ("0", "1", "maybe"))
    assert label.y[-1] == 2


def test_columns_that_only_some_json_lines_have(tmp_path, table):
    path = as_jsonl(tmp_path / "t.jsonl", typed(table))
    lines = path.read_text().splitlines()
    lines[1500] = json.dumps({**json.loads(lines[1500]), "extra": 3.5})
    path.write_text("\n".join(lines))
    extra = read_table(path, CHOICES).columns["extra"]
    assert np.flatnonzero(~np.isnan(extra.values)).tolist() == [1500]


def test_rows_out_of_order_are_sorted_and_counted(tmp_path, table, file):
    expected = prepare(file, CHOICES).encoded
    order = np.random.default_rng(1).permutation(len(table["ts"]))
    mixed = {name: [values[i] for i in order] for name, values in table.items()}
    got = prepare(save(tmp_path / "mixed.csv", mixed), CHOICES)
    np.testing.assert_array_equal(got.encoded.xs, expected.xs)
    np.testing.assert_array_equal(got.encoded.y, expected.y)
    back = sum(order[i] < order[i - 1] for i in range(1, len(order)))
    assert f"({back:,} rows go back" in got.table.notes[0]
    np.testing.assert_array_equal(got.table.in_file_order(got.encoded.time_ms), expected.time_ms[order])


def test_infinite_numbers_count_as_missing_and_are_told(tmp_path, table):
    table["x"][5] = "inf"
    made = read_table(save(tmp_path / "t.csv", table), CHOICES)
    assert np.isnan(made.columns["x"].values[5])
    assert made.notes == ["x: 1 infinite numbers count as missing."]


def test_only_the_first_rows(file):
    assert read_table(file, CHOICES, rows=500).n == 500


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("label"), "--label: no such column; got label"),
        (lambda t: t.update(label=[1] * 3000), "never varies.*'1'"),
        (lambda t: t.update(label=[""] * 3000), "no row has a label"),
        (lambda t: t.update(ts=["yesterday", *t["ts"][1:]]), "row 0 .from 0.: a time cannot be read.*'yesterday'"),
        (lambda t: t.update(ts=[*t["ts"][:-1], ""]), "no time"),
        (lambda t: t.update(ts=[*t["ts"][:-1], "2024-02-01T00:00:00"]), "with a zone and without one are mixed"),
        (lambda t: t.update(ts=["2024-01-01"] * 3000), "all events have the same time"),
    ],
)
def test_bad_tables_are_refused_with_a_reason(tmp_path, table, change, message):
    change(table)
    with pytest.raises(Fatal, match=rf"(?s){message}"):
        read_table(save(tmp_path / "t.csv", table), CHOICES)


def test_a_label_known_before_its_event(tmp_path, table):
    known = table["ts"].copy()
    known[7] = "2023-12-31T00:00:00Z"
    with pytest.raises(Fatal, match=r"1 labels are known before their event.*got 86,820,000 ms before it in row 7"):
        read_table(save(tmp_path / "t.csv", {**table, "known": known}), Choices("label", "ts", "known"))


def test_a_repeated_header(tmp_path):
    (tmp_path / "t.csv").write_text("ts,x,x,label\n2024-01-01,1,2,0\n")
    with pytest.raises(Fatal, match=r"two columns have the same name.*'x'"):
        read_table(tmp_path / "t.csv", CHOICES)


def test_ten_thousand_columns(tmp_path):
    rng = np.random.default_rng(0)
    names = [f"c{i}" for i in range(10_000)]
    cells = rng.integers(0, 9, (120, 10_000))
    lines = [
        f"{t},{','.join(map(str, row))},{i % 2}" for i, (t, row) in enumerate(zip(drifting(120)["ts"], cells, strict=True))
    ]
    (tmp_path / "t.csv").write_text("\n".join([f"ts,{','.join(names)},label", *lines]))
    assert len(read_table(tmp_path / "t.csv", CHOICES).columns) == 10_000


def test_a_table_beyond_memory_is_refused_at_its_first_piece(monkeypatch, file):
    monkeypatch.setattr("headwater.assess.table._MEMORY_SHARE", 1e-9)
    with pytest.raises(Fatal, match=r"too large for the memory.*--rows"):
        read_table(file, CHOICES)


@pytest.mark.parametrize(
    ("name", "text"), [("t.csv", "ts,label\n1,2,3\n"), ("t.jsonl", '{"ts": 1}\n{"ts": '), ("t.parquet", "PAR?"), ("t.csv", "")]
)
def test_broken_files(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(Fatal, match="t\\."):
        read_table(tmp_path / name, CHOICES)
