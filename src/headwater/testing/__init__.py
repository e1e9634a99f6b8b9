"""For users' own tests: conformance suites, and the whole loop in one process on virtual time.

In: your app, or your implementation of a Protocol. Out: a run to ask, or a list of what does not hold.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from headwater.runtime.local import LocalRun

if TYPE_CHECKING:
    from headwater.testing.learner_conformance import LearnerConformance

__all__ = ["LearnerConformance", "LocalRun"]


def __getattr__(name: str) -> object:
    if name == "LearnerConformance":  # needs pytest, which a notebook may not have
        return import_module("headwater.testing.learner_conformance").LearnerConformance
    raise AttributeError(f"module 'headwater.testing' has no attribute {name!r}")
