"""The peers' environments: `.bench/<peer>/`, made from a locked list with hashes before anything is measured."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterable

from bench.sides import ROOT, WORK

LOCKS = ROOT / "bench" / "peers"


def prepare(peer: str) -> None:
    """Make a peer's environment, or leave it as it is where it was made from the same lock.

    Raises:
        RuntimeError: It cannot be made; the message is pip's.
    """
    lock, folder = LOCKS / f"{peer}.lock", WORK / peer
    stamp, mark = folder / "lock.sha256", hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == mark:
        return
    shutil.rmtree(folder, ignore_errors=True)
    _run(sys.executable, "-m", "venv", str(folder))
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "-qq"]
    _run(*pip, "install", "--require-hashes", "--no-deps", "--only-binary", ":all:", "-r", str(lock))
    stamp.write_text(mark)


def prepare_all(peers: Iterable[str]) -> None:
    for peer in dict.fromkeys(peers):
        prepare(peer)


def theirs(peer: str, program: str) -> list[str]:
    """The command for a program of `bench/peers`, run by its peer's own Python; it sees neither Headwater nor our packages."""
    return [str(WORK / peer / "bin" / "python"), "-m", f"bench.peers.{program}"]


def _run(*command: str) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
