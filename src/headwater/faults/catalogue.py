"""All classes of faults, in the order of their numbers."""

from __future__ import annotations

from collections.abc import Sequence

from headwater.core.errors import Fatal, nearest
from headwater.faults.attacks import Lies
from headwater.faults.clocks import ClockJumps
from headwater.faults.configuring import Misconfigured
from headwater.faults.crashes import PowerFailed
from headwater.faults.crowding import Deaf, Flooded, Swapped
from headwater.faults.feedback import Feedback
from headwater.faults.kills import Killed
from headwater.faults.labels import Labels
from headwater.faults.models import Misbehaving, Tampered
from headwater.faults.poison import Poison
from headwater.faults.repeats import OutOfOrder, ReplyLost, Resent
from headwater.faults.rot import Rotten
from headwater.faults.schedule import Fault
from headwater.faults.secrets import Secrets
from headwater.faults.signals import KilledProcess, Paused
from headwater.faults.starving import Full, Starved, SyncFails
from headwater.faults.upgrades import Upgraded
from headwater.faults.values import Bursts, WrongValues


def all_faults() -> list[Fault]:
    """Every class; ids are unique but for classes that are run both within a process and by real processes."""
    found: list[Fault] = [
        Killed(),
        Killed(n_kills=2),
        ClockJumps(),
        Resent(),
        OutOfOrder(),
        Poison(),
        WrongValues(),
        Bursts(),
        Labels(),
        Lies(),
        Feedback(),
        Misbehaving(),
        Tampered(),
        ReplyLost(),
        Upgraded(),
        Secrets(),
    ]
    found += [PowerFailed(), Rotten(), Misconfigured()]
    found += [KilledProcess(), SyncFails(), Full(), Deaf(), Flooded(), Swapped(), Paused(), Starved()]
    return sorted(found, key=lambda fault: int(fault.id[1:]))


def chosen(ids: Sequence[str]) -> list[Fault]:
    """The classes of these ids, or all where none is named.

    Raises:
        Fatal: There is no such class.
    """
    found = all_faults()
    known = {fault.id for fault in found}
    for name in ids:
        if name not in known:
            raise Fatal("no such class of faults", where="faults", got=name, next_step=nearest(name, known))
    return [fault for fault in found if fault.id in ids] if ids else found
