"""For users' own tests: conformance suites, and the whole loop in one process on virtual time.

In: your app, or your implementation of a Protocol. Out: a run to ask, or a list of what does not hold.
"""

from headwater.runtime.local import LocalRun

__all__ = ["LocalRun"]
