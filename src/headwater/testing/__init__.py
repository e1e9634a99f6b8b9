"""For users' own tests: conformance suites, the whole loop in one process on virtual time, and faults on purpose.

In: your app, or your implementation of a Protocol. Out: a run to ask, or a list of what does not hold.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from headwater.runtime.local import LocalRun

if TYPE_CHECKING:
    from headwater.faults.kills import Killed
    from headwater.faults.oracle import audit
    from headwater.faults.runner import run_faults
    from headwater.faults.schedule import Fault, Outcome
    from headwater.testing.learner_conformance import LearnerConformance

__all__ = ["Fault", "Killed", "LearnerConformance", "LocalRun", "Outcome", "audit", "run_faults"]

_HOMES = {
    "LearnerConformance": "headwater.testing.learner_conformance",  # needs pytest, which a notebook may not have
    "Fault": "headwater.faults.schedule", "Outcome": "headwater.faults.schedule", "Killed": "headwater.faults.kills",
    "audit": "headwater.faults.oracle", "run_faults": "headwater.faults.runner",
}  # fmt: skip


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'headwater.testing' has no attribute {name!r}")
