"""The one use of numba: `@kernel`, a typed, cached, GIL-free compiler for loops over arrays.

numba's own cache looks only at the file of the function that is called, so that an edit to a kernel's callee in another
file would go unseen. Here the cache folder is named after a hash of *every* module that holds kernels, of numba, of
llvmlite and of the processor: whatever changes, a fresh folder is used.
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import llvmlite
import numba

P = ParamSpec("P")
R = TypeVar("R")

_ROOT = Path(__file__).resolve().parent.parent


def _sources_hash() -> str:
    digest = hashlib.sha256(f"{numba.__version__} {llvmlite.__version__} {platform.machine()}".encode())
    for path in sorted(_ROOT.rglob("*.py")):
        source = path.read_bytes()
        if b"@kernel" in source or b"@inline" in source:  # and @inlined
            digest.update(str(path.relative_to(_ROOT)).encode() + b"\0" + source + b"\0")
    return digest.hexdigest()[:16]


def cache_folder() -> Path:
    """Where compiled kernels are kept: one folder per state of their sources."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "headwater" / f"kernels-{_sources_hash()}"


_FOLDER = str(cache_folder())


def _compile(function: Callable[P, R], **options: Any) -> Callable[P, R]:
    config: Any = numba.config
    before = config.CACHE_DIR
    config.CACHE_DIR = _FOLDER
    try:
        # No fastmath and no parallel: the same events must give the same bits.
        compiled: Callable[P, R] = numba.njit(cache=True, error_model="numpy", **options)(function)
    finally:
        config.CACHE_DIR = before
    return compiled


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a loop over arrays; it runs without the GIL and is cached on disk."""
    return _compile(function, nogil=True)


def inline(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a helper that only kernels call."""
    return _compile(function, inline="never")


def inlined(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a helper over arrays into its callers: handing arrays over costs more than such work; compiling takes longer."""
    return _compile(function, inline="always")
