"""Threads that are there before memory runs short.

A pool starts its threads as work comes. Where there is no memory for one just then, it may be made and die before it has
said that it lives; whoever started it waits for ever (CPython), and with an event loop everything does. So they are started
while there is memory, and only used later.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier


def started(n: int, name: str) -> ThreadPoolExecutor:
    """A pool of `n` threads that all run already.

    >>> with started(2, "work") as pool:
    ...     len(pool._threads)
    2
    """
    pool, all_here = ThreadPoolExecutor(n, thread_name_prefix=name), Barrier(n + 1)
    for _ in range(n):
        pool.submit(all_here.wait)
    all_here.wait()
    return pool
