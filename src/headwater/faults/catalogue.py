"""All classes of faults, in the order of their numbers."""

from __future__ import annotations

from headwater.faults.models import Misbehaving, Tampered
from headwater.faults.schedule import Fault


def all_faults() -> list[Fault]:
    """Every class; ids are unique but for classes that are run both within a process and by real processes."""
    found: list[Fault] = [Misbehaving(), Tampered()]
    return sorted(found, key=lambda fault: int(fault.id[1:]))
