"""How properties are searched, and where processes that tests start find compiled modules."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

# Without a deadline, as a first call compiles kernels; repeatably in CI.
settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")


@pytest.fixture(scope="session", autouse=True)
def _bytecode() -> Iterator[None]:
    """Where the environment forbids bytecode, a hundred processes would each compile our sources, or all of numba's."""
    with pytest.MonkeyPatch.context() as patched:
        patched.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        yield
