"""Where in the files of an installation lies what others are told: a bit that is flipped there must never be believed.

Most of such a file is free pages, copies that nothing points to, and slack. A bit flipped anywhere in it seldom hits an event,
a notice or a cursor; so part of the flips are drawn from the places that are found here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from headwater.faults.telling import Telling
from headwater.following.cursors import FILE_NAME as CONSUMERS
from headwater.following.notices import FILE_NAME as NOTICES
from headwater.log.chunks import HEADER_BYTES
from headwater.log.environment import Environment
from headwater.registry.catalog import FILE_NAME as CATALOGUE
from headwater.runtime.places import FOLLOWING
from headwater.runtime.settings import Settings

_BEFORE, _AFTER = 16, 24  # bytes of a row's numbers: before and after its text


class Spot(NamedTuple):
    """Some bytes of a file: `start` up to `stop`."""

    start: int
    stop: int


def spots(settings: Settings, said: Telling) -> dict[str, list[Spot]]:
    """The places, by file, relative to the state directory; nothing has the files open.

    Args:
        settings: Of an installation at rest.
        said: What it tells.
    """
    state = settings.state_dir
    log = Path("log") / "data.mdb"
    found = {str(log): list(_found((state / log).read_bytes(), _payloads(state), 0, 0))}
    for file, texts in _texts(said).items():
        found[file] = list(_found((state / file).read_bytes(), texts, _BEFORE, _AFTER))
    return {file: places for file, places in found.items() if places}


def _payloads(state: Path) -> list[bytes]:
    """The events of each chunk, as they are stored."""
    with closing(Environment(state / "log", ("chunks",), readonly=True)) as env:
        (chunks,) = env.databases
        return env.read(lambda txn: [bytes(value)[HEADER_BYTES:] for value in txn.cursor(chunks).iternext(keys=False)])


def _texts(said: Telling) -> dict[str, list[bytes]]:
    """A text of each row, which is in the file as it is here; the row's numbers are beside it."""
    notices = [data for name, rows in said.items() if name.startswith("notices on ") for *_, data in rows]
    cursors = [one["name"] + one["stream"] + one["kind"] for one in said["cursors"]]
    parked = [event for *_, event in said["parked events"]]
    versions = [version["sha256"] for version in said["versions"]]
    texts = {
        f"{FOLLOWING}/{NOTICES}": notices,
        f"{FOLLOWING}/{CONSUMERS}": cursors * 5 + parked,
        f"registry/{CATALOGUE}": versions,
    }
    return {file: [text.encode() for text in found] for file, found in texts.items()}


def _found(content: bytes, wanted: Iterable[bytes], before: int, after: int) -> Iterator[Spot]:
    """Where the wanted bytes are, with what lies around them."""
    for one in wanted:
        if (at := content.rfind(one)) >= 0:
            yield Spot(max(0, at - before), min(len(content), at + len(one) + after))
