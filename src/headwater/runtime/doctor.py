"""What could be wrong with this machine or a state directory, each with its next step.

Everything is read and nothing is changed, so that it may run beside a live Headwater.
"""

from __future__ import annotations

import platform
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from headwater.core.errors import HeadwaterError, WrongState
from headwater.runtime.settings import Settings

if TYPE_CHECKING:
    from headwater.following.notices import Ends

OK, WARN, FAIL = "ok", "warn", "fail"
LIBRARIES = ("numpy", "numba", "pyarrow", "msgspec", "lmdb", "safetensors", "uvicorn")
LOW_BYTES, WARN_BYTES = 256 << 20, 2 << 30  # free disk: less is a failure, a warning
_ROWS, _ROWS_BYTES = 1000, 4 << 20  # read at once


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found.

    Attributes:
        level: `ok`; `warn`: works, but look at it; `fail`: does not work.
        check: What was looked at.
        finding: What was found there.
        next_step: What to do; empty if nothing.
    """

    level: str
    check: str
    finding: str
    next_step: str = ""


def examine(settings: Settings) -> list[Finding]:
    """Run all checks; a check that breaks is itself a finding. Cost: one read of the log and of all versions' files."""
    return [finding for check in CHECKS for finding in _guarded(check, settings)]


def _guarded(check: Callable[[Settings], Iterator[Finding]], settings: Settings) -> Iterator[Finding]:
    name = check.__name__.strip("_").replace("_", " ")
    try:
        yield from check(settings)
    except HeadwaterError as error:
        place = f"{error.where}: " if error.where else ""
        yield Finding(FAIL, name, f"{place}{error.what}", error.next_step)
    except OSError as error:
        yield Finding(FAIL, name, str(error), "Check the path and its permissions.")


def _python(_: Settings) -> Iterator[Finding]:
    here = f"Python {platform.python_version()} on {platform.machine()}"
    fine = sys.version_info >= (3, 11)
    yield Finding(OK if fine else FAIL, "python", here, "" if fine else "Install Python 3.11 or newer.")


def _libraries(_: Settings) -> Iterator[Finding]:
    found = []
    for library in LIBRARIES:
        try:
            found.append(f"{library} {version(library)}")
        except PackageNotFoundError:
            yield Finding(
                FAIL, "libraries", f"{library} is not installed", "Run `make setup`, or `pip install headwater` again."
            )
    yield Finding(OK, "libraries", ", ".join(found))


def _state_directory(settings: Settings) -> Iterator[Finding]:
    folder = settings.state_dir
    if not folder.exists():
        yield Finding(WARN, "state directory", f"{folder} does not exist yet", "`headwater run` makes it; or give --state DIR.")
    elif not folder.is_dir():
        yield Finding(FAIL, "state directory", f"{folder} is not a folder", "Move the file away, or give --state DIR.")
    else:
        yield Finding(OK, "state directory", str(folder.resolve()))


def _log(settings: Settings) -> Iterator[Finding]:
    from headwater.log.open import open_log  # noqa: PLC0415 - compiles kernels; other checks should have run by then

    try:
        log = open_log(settings.log_url, readonly=True)
    except WrongState as error:
        level = FAIL if settings.state_dir.joinpath("log").exists() else WARN
        yield Finding(level, "log", f"{error.where}: {error.what}", error.next_step)
        return
    try:
        first, end = log.bounds()
        read = sum(chunk.batch.n for chunk in log.read(first))
        yield Finding(OK, "log", f"{read} events from seq {first} to {end}, every checksum holds")
        refused = sum(counts.quarantined for counts in log.counts().values())
        if refused:
            yield Finding(WARN, "quarantine", f"{refused} events were refused", "See them with `headwater quarantine list`.")
    finally:
        log.close()


def _registry(settings: Settings) -> Iterator[Finding]:
    from headwater.registry import Catalog  # noqa: PLC0415 - as above
    from headwater.registry.signing import FILE_NAME, trust_folder  # noqa: PLC0415

    try:
        catalog = Catalog(settings.registry_dir, read_only=True)
    except WrongState as error:
        level = FAIL if error.expected else WARN
        yield Finding(level, "registry", f"{error.where}: {error.what}", error.next_step if error.expected else "")
        return
    with catalog:
        versions = catalog.list()
        for found in versions:
            catalog.artifacts.verify(found.sha256)
        strangers = set(catalog.artifacts.hashes()) - {found.sha256 for found in versions}
    yield Finding(OK, "registry", f"{len(versions)} versions, each signed here, every file has its hash")
    key = trust_folder(settings.registry_dir) / FILE_NAME
    if key.stat().st_mode & 0o077:
        yield Finding(WARN, "registry", f"others can read {key}", f"chmod 600 {key}: whoever reads it can sign versions.")
    if strangers:
        yield Finding(WARN, "registry", f"{len(strangers)} files that no version names", "Left by a crash; they do no harm.")


def _state(settings: Settings) -> Iterator[Finding]:
    from headwater.runtime.places import STATE  # noqa: PLC0415
    from headwater.store.checkpoint import Checkpoints  # noqa: PLC0415 - as above

    if not (settings.state_dir / STATE / "data.mdb").exists():
        return
    store = Checkpoints(settings.state_dir / STATE, readonly=True)
    try:
        meta = store.verify()
    finally:
        store.close()
    if meta is not None:
        yield Finding(OK, "state", f"saved at seq {meta.seq}, every checksum holds")


def _ledger(settings: Settings) -> Iterator[Finding]:
    from headwater.planning.ledger import FILE_NAME, Ledger  # noqa: PLC0415 - as above
    from headwater.runtime.places import PLANNING  # noqa: PLC0415

    file = settings.state_dir / PLANNING / FILE_NAME
    if file.exists():
        with Ledger(file, read_only=True) as ledger:
            yield Finding(OK, "ledger", f"{len(ledger.jobs())} jobs, every checksum holds")


def _consumers(settings: Settings) -> Iterator[Finding]:
    from headwater.following import Cursors  # noqa: PLC0415 - as above
    from headwater.runtime.places import FOLLOWING  # noqa: PLC0415

    try:
        cursors = Cursors(settings.state_dir / FOLLOWING, read_only=True)
    except WrongState as error:
        if error.expected:
            yield Finding(FAIL, "consumers", f"{error.where}: {error.what}", error.next_step)
        return
    try:
        found = cursors.all()
        cursors.parked()  # compares each
    finally:
        cursors.close()
    for progress in found:
        if progress.parked:
            said = f"{progress.name} would not take {progress.parked} events"
            yield Finding(WARN, "consumers", said, "See them with `headwater parked list`.")
        if progress.attempt:
            yield Finding(WARN, "consumers", f"{progress.name} has failed {progress.attempt} times: {progress.error}")


def _notices(settings: Settings) -> Iterator[Finding]:
    from headwater.following import Notices  # noqa: PLC0415 - as above
    from headwater.following.notices import FILE_NAME  # noqa: PLC0415
    from headwater.runtime.places import FOLLOWING  # noqa: PLC0415

    folder = settings.state_dir / FOLLOWING
    if not (folder / FILE_NAME).exists():
        return
    notices, n = Notices(folder, read_only=True), 0
    try:
        notices.check(_told(settings))
        for stream in map(notices.stream, notices.names()):
            at, end = stream.bounds()
            while at < end:
                page = stream.read(at, _ROWS, _ROWS_BYTES)
                at, n = page.next, n + page.n
    finally:
        notices.close()
    yield Finding(OK, "notices", f"{n} notices, every checksum holds")


def _told(settings: Settings) -> Ends | None:
    """The notices that the saved state knows of."""
    from headwater.runtime.checkpointing import TOLD  # noqa: PLC0415 - as above
    from headwater.runtime.places import STATE  # noqa: PLC0415
    from headwater.store.checkpoint import Checkpoints  # noqa: PLC0415

    if not (settings.state_dir / STATE / "data.mdb").exists():
        return None
    store = Checkpoints(settings.state_dir / STATE, readonly=True)
    try:
        return store.extra().get(TOLD)
    finally:
        store.close()


def _disk(settings: Settings) -> Iterator[Finding]:
    folder = settings.state_dir.resolve()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    level = FAIL if free < LOW_BYTES else WARN if free < WARN_BYTES else OK
    step = "" if level == OK else "Free some space, or set log.retention_age or log.retention_bytes."
    yield Finding(level, "disk", f"{free / (1 << 30):.1f} GiB free at {folder}", step)


def _port(settings: Settings) -> Iterator[Finding]:
    host, port = settings.server.host, settings.server.port
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        step = "Something listens there, perhaps Headwater itself; otherwise choose another with HEADWATER_SERVER_PORT."
        yield Finding(WARN, "port", f"{host}:{port} cannot be listened on ({error.strerror or error})", step)
    else:
        yield Finding(OK, "port", f"{host}:{port} is free")


CHECKS: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
    _python, _libraries, _state_directory, _log, _state, _registry, _consumers, _notices, _ledger, _disk, _port,
)  # fmt: skip
