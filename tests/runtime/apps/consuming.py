"""The small app with consumers, which write what they hear to files, so that a test can see what each process heard."""

import json
import os
from pathlib import Path

from small import Arrival, Departure, late  # its folder is importable

import headwater as hw

FOLDER = Path(os.environ["HEARD_IN"])
app = hw.App("consuming", models=[late])


def heard(name: str, *facts: object) -> None:
    with (FOLDER / name).open("a") as file:
        file.write(json.dumps([os.getpid(), *facts]) + "\n")


@app.on(Arrival)
def arrivals(event: Arrival, envelope: hw.Envelope) -> None:
    heard("arrivals", envelope.seq, event.flight_id)


@app.on(Departure, batch=True)
def departures(events: list[Departure], envelopes: list[hw.Envelope]) -> None:
    if any(e.flight_id == "f7" for e in events):
        raise hw.Fatal("seven is never taken")
    for event, envelope in zip(events, envelopes, strict=True):
        heard("departures", envelope.seq, event.flight_id)


@app.on("_versions")
def one(version: hw.Notice) -> None:
    heard("one", version.data["name"], version.data["sha256"])


@app.on("_versions", batch=True)
def other(versions: list[hw.Notice]) -> None:
    for version in versions:
        heard("other", version.data["name"], version.data["sha256"])


app.webhook(Arrival, url=os.environ["HOOK_URL"], batch=50)
