"""F5 aims: the places that it takes for events, notices and cursors are where those lie."""

from __future__ import annotations

import json
from random import Random

from headwater.core.codec import decode
from headwater.faults import rot
from headwater.faults.spots import Spot


def test_half_of_the_flips_are_where_something_is_read(tmp_path):
    said = json.loads(rot._live(tmp_path, rot._RECIPE.requests))
    files = rot._read(tmp_path)
    spots = {f"state/{path}": [Spot(*at) for at in found] for path, found in said["spots"].items()}
    at = {path: [files[path][spot.start : spot.stop] for spot in found] for path, found in spots.items()}
    ids = [id_ for payload in at["state/log/data.mdb"] for id_ in decode(payload).ids.to_list()]
    assert len(ids) > 100
    notices = b"".join(at["state/following/notices.sqlite"])
    rows = [row for name, rows in said["told"].items() if name.startswith("notices") for row in rows]
    assert rows
    assert all(id_.encode() in notices for _, id_, *_ in rows)
    assert b"tolddeliveryhandler" in b"".join(at["state/following/consumers.sqlite"])

    fault = rot.Rotten()
    fault._made = rot._Victim(files, files, spots, said["told"])
    flips = [step for number in range(2000) for step in fault.expand(Random(number)) if step.get("flip") in spots]
    sharp = sum(any(spot.start <= step["byte"] < spot.stop for spot in spots[step["flip"]]) for step in flips)
    assert 0.5 < sharp / len(flips) < 0.65
