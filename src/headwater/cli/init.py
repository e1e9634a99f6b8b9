"""`headwater init`: a small app that runs at once."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

_STARTER = Path(__file__).with_name("starter")
_FILES = ("app.py", "headwater.toml", "test_app.py", "README.md")
_SAMPLE = "sample.jsonl"
_START = datetime(2025, 1, 6, tzinfo=UTC)
_DAYS = 14
_NEVER_DELIVERED = 0.01


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to make; what lies there is never overwritten.")],
) -> None:
    """Write a small app that runs: a declaration, settings, a test, sample events, a README.

    For example:

        headwater init orders
    """
    from headwater.core.errors import Fatal

    there = [name for name in (*_FILES, _SAMPLE) if (folder / name).exists()]
    if there:
        step = "Choose another folder, or move them away."
        raise Fatal("files would be overwritten", where=str(folder), got=", ".join(there), next_step=step)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in _FILES:
            (folder / name).write_bytes((_STARTER / name).read_bytes())
        (folder / _SAMPLE).write_text("".join(json.dumps(event) + "\n" for event in sample()))
    except OSError as error:
        raise Fatal(
            f"the app cannot be written ({error.strerror})", where=str(folder), next_step="Choose another folder."
        ) from error
    print(f"Wrote {', '.join((*_FILES, _SAMPLE))}.")
    print(f"Next:\n  cd {folder}\n  headwater replay app.py --input {_SAMPLE}\n  headwater run app.py")


def sample(orders_per_day: int = 150) -> list[dict[str, Any]]:
    """Two weeks of orders and deliveries by time, the same ones every time. Each courier has better and worse days."""
    chance = random.Random(7)  # noqa: S311 - sample data
    couriers = {f"courier-{i}": chance.gauss(5, 8) for i in range(12)}
    events: list[dict[str, Any]] = []
    for day in range(_DAYS):
        couriers = {courier: 0.6 * usual + 0.4 * chance.gauss(5, 20) for courier, usual in couriers.items()}
        for i in range(orders_per_day):
            events += _order(chance, f"{day:02}-{i:04}", _START + timedelta(days=day), couriers)
    return sorted(events, key=lambda event: (event["time"], event["id"]))


def _order(chance: random.Random, name: str, day: datetime, couriers: dict[str, float]) -> Iterator[dict[str, Any]]:
    placed = day + timedelta(seconds=chance.randrange(8 * 3600, 22 * 3600))
    courier, shop, distance = chance.choice(sorted(couriers)), f"shop-{chance.randrange(8)}", round(chance.uniform(0.5, 9), 1)
    late = couriers[courier] + 1.5 * (distance - 4) + (6 if shop == "shop-3" else 0) + chance.gauss(0, 4)
    came = placed + timedelta(minutes=max(5.0, 40 + late))
    common = {"order_id": name, "courier": courier}
    yield {"stream": "order", "id": f"o-{name}", "time": _time(placed), **common, "shop": shop, "distance_km": distance}
    minutes = None if chance.random() < _NEVER_DELIVERED else round(late, 1)
    yield {"stream": "delivery", "id": f"d-{name}", "time": _time(came), **common, "minutes_late": minutes}


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
