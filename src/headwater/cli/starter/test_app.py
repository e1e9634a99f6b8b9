"""Run with `pytest`."""

import json
from pathlib import Path

from app import app, late

LINES = Path(__file__).with_name("sample.jsonl").read_text().splitlines()


def test_each_order_is_scored() -> None:
    assert late.schema.stream == "order"
    assert app.models == {"late": late}


def test_the_sample_fits_the_declaration() -> None:
    for line in LINES:
        event = json.loads(line)
        declared = {field.name for field in app.streams[event["stream"]].fields}
        assert event.keys() == declared | {"stream", "id", "time"}
