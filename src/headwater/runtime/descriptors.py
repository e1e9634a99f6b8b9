"""How many connections fit into the files that a process may have open.

Each connection is a descriptor. A server that has none left cannot even say so: it can only drop who comes. So the number of
connections is fitted to the limit before the first one comes, and the limit is named.
"""

from __future__ import annotations

import resource
from pathlib import Path

import structlog

from headwater.core.errors import ConfigError

_SPARE = 16  # for files that are opened now and then, and for connections that are about to be refused
_LEAST = 8
_USED = 64  # where the system does not say
_OPEN = (Path("/proc/self/fd"), Path("/dev/fd"))

_log = structlog.stdlib.get_logger("headwater.serving")


def connections(most: int) -> int:
    """At most `most`, and as many as there are descriptors for; the soft limit is raised as far as the hard one allows.

    Raises:
        ConfigError: There is no room for anybody.
    """
    used = _used()
    needed = used + _SPARE + most
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(hard, needed)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    room = most if soft == resource.RLIM_INFINITY else min(most, soft - used - _SPARE)
    if room < _LEAST:
        raise ConfigError(
            "this process may open too few files", where="ulimit -n", expected=f"at least {used + _SPARE + _LEAST}",
            got=str(soft), next_step="Raise the limit: `ulimit -n 4096`, or LimitNOFILE= of the service.",
        )  # fmt: skip
    if room < most:
        _log.warning("few files may be open (ulimit -n): beyond this, connections are refused", limit=soft, connections=room)
    return room


def _used() -> int:
    found = next((folder for folder in _OPEN if folder.is_dir()), None)
    return _USED if found is None else len(list(found.iterdir()))
