"""Immutable versions of models: their bytes, their lineage, what they cost and how good they were.

In: named arrays and a header from a learner. Out: the same, verified by signature and hash on every load. A version is never
changed and nothing here decides when one is made. No pickle, and no string of a user's ever becomes part of a path.
"""

from headwater.registry.artifact import Artifact, Artifacts
from headwater.registry.catalog import Catalog
from headwater.registry.difference import ArrayChange, Difference
from headwater.registry.version import Version

__all__ = ["ArrayChange", "Artifact", "Artifacts", "Catalog", "Difference", "Version"]
