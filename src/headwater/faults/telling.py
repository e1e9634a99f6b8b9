"""What an installation at rest tells from its SQLite files: notices, cursors, what was parked, versions.

Two installations that must not differ are compared by it: one with a bit flipped and one without, one that was killed as it
was brought up to date and one that was not.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from typing import Any

from headwater.following.cursors import Cursors
from headwater.following.notices import Notices
from headwater.registry.catalog import Catalog
from headwater.runtime.places import FOLLOWING
from headwater.runtime.settings import Settings

_ALL = 10_000

Telling = dict[str, Any]  # what JSON can hold


def told(settings: Settings) -> Telling:
    """All of it, by what it is called. Each file is opened for writing: a reader would leave the journal that it made.

    Raises:
        HeadwaterError: Some of it cannot be read.
    """
    following = settings.state_dir / FOLLOWING
    with closing(Notices(following)) as notices, closing(Cursors(following)) as cursors:
        said: Telling = {f"notices on {name}": _rows(notices, name) for name in notices.names()}
        said["cursors"] = [asdict(progress) for progress in cursors.all()]
        said["parked events"] = [list(parked) for parked in cursors.parked()]
    with Catalog(settings.registry_dir) as catalog:
        said["versions"] = [version.describe() for version in catalog.list()]
    return said


def _rows(notices: Notices, name: str) -> list[Any]:
    stream, found = notices.stream(name), list[Any]()
    at, end = stream.bounds()
    while at < end:
        page = stream.read(at, _ALL, 1 << 30)
        data = page.rows.frames[name].columns["data"].to_list()
        rows = zip(page.seq.tolist(), page.rows.ids.to_list(), page.rows.time.tolist(), data, strict=True)
        found += map(list, rows)
        at = page.next
    return found


def differing(got: Telling, wanted: Telling) -> list[str]:
    """A sentence for each thing that is told otherwise."""
    return [
        f"{name}: {_first(got.get(name, []), wanted.get(name, []))}"
        for name in sorted(got.keys() | wanted.keys())
        if got.get(name, []) != wanted.get(name, [])
    ]


def _first(got: list[Any], wanted: list[Any]) -> str:
    """Where two lists part."""
    at = next((i for i, pair in enumerate(zip(got, wanted, strict=False)) if pair[0] != pair[1]), min(len(got), len(wanted)))
    return f"row {at} of {len(got)} is {str(got[at : at + 1])[:300]}, must be {str(wanted[at : at + 1])[:300]} of {len(wanted)}"
