"""F29: a setting that is misspelt or wrong, and an optional library that is not there.

A setting that is silently ignored is worse than none: each is refused, with its place and the nearest name, and what was read
before it stays as it was. A library that one feature needs is missed by that feature alone.
"""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random
from typing import Any

from headwater.core.errors import ConfigError, DeclarationError
from headwater.faults.schedule import Outcome, Steps
from headwater.faults.world import START_MS, Order, shop
from headwater.learning.protocol import library
from headwater.runtime.config import FILE_NAME, load, names
from headwater.runtime.local import LocalRun

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_WRONG = (
    ("server.port", '"eighty"'), ("server.port", "-1"), ("server.port", "70000"), ("server.linger_ms", "2.0"),
    ("server.max_body_bytes", "0"), ("server.without_key", '"everything"'), ("log.dedupe_for", '"a week"'),
    ("logging.level", '"loud"'),
    ("learner.checkpoint_every_s", "0"), ("learner.checkpoint_every_s", "inf"), ("learner.tell_features", '"perhaps"'),
)  # fmt: skip
_EXTRAS = {"lightgbm": "lightgbm", "river.base": "river", "sklearn.linear_model": "sklearn"}
_N = 6  # of one schedule


class Misconfigured:
    """Settings of another name or value than there are; libraries that cannot be imported."""

    id, title, is_process = "F29", "wrong settings, missing libraries", False

    def expand(self, random: Random) -> Steps:
        return [self._step(random) for _ in range(_N)]

    def _step(self, random: Random) -> dict[str, Any]:
        kind = random.randrange(3)
        if kind == 0:
            return {"without": random.choice(list(_EXTRAS))}
        if kind == 1:
            return dict(zip(("set", "to"), random.choice(_WRONG), strict=True))
        return {"set": _misspelt(random.choice([name for name in names() if "." in name]), random), "to": "1"}

    def run(self, steps: Steps, place: Path) -> Outcome:
        file = place / FILE_NAME
        good = '[server]\nport = 8123\n[log]\nretention_age = "9d"\n'
        file.write_text(good)
        last, said = load(file).settings.model_dump(), []
        for step in steps:
            said += _without(step["without"]) if "without" in step else _with(file, step["set"], step["to"])
            file.write_text(good)
            if load(file).settings.model_dump() != last:
                said.append(f"{step}: the settings are no longer those of the file")
        return Outcome(len(steps), said)


def _misspelt(name: str, random: Random) -> str:
    """A setting's name with one letter more, less or changed."""
    section, _, key = name.rpartition(".")
    at, letter = random.randrange(len(key)), random.choice(_LETTERS)
    wrong = random.choice([key[:at] + key[at + 1 :], key[:at] + letter + key[at:], key[:at] + letter + key[at + 1 :]])
    return name + "s" if f"{section}.{wrong}" in names() or not wrong else f"{section}.{wrong}"


def _with(file: Path, name: str, value: str) -> list[str]:
    """Read a file with one more setting; what is wrong about how it is refused."""
    section, _, key = name.rpartition(".")
    file.write_text(f"[{section}]\n{key} = {value}\n")
    try:
        load(file)
    except ConfigError as error:
        missing = [what for what in (key, FILE_NAME) if what not in str(error)]
        if name not in names() and "Did you mean" not in str(error) and "Known:" not in str(error):
            missing.append("the nearest name")
        return [f"{name} = {value} is refused without naming {missing}: {error}"] if missing else []
    return [f"{name} = {value} is taken without a word"]


def _without(module: str) -> list[str]:
    """Ask for a library that cannot be imported; what is wrong about how it is missed."""
    hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == module.partition(".")[0]}
    blocked: Any = None
    sys.modules[module.partition(".")[0]] = blocked  # whoever imports it is told that it is not there
    said = []
    try:
        library(module, _EXTRAS[module], "a learner")
        said.append(f"{module} was imported though it cannot be")
    except DeclarationError as error:
        if f"Install headwater[{_EXTRAS[module]}]" not in str(error):
            said.append(f"{module} is missing, and nobody says what to install: {error}")
    run = LocalRun(shop())  # whoever does not need it does not miss it
    run.send(Order(order="n1", shop="ash", amount=1.0, weight=None), time=START_MS)
    if run.seq != 1:
        said.append(f"without {module} the log ends at {run.seq} after one event")
    sys.modules.pop(module.partition(".")[0])
    sys.modules.update(hidden)
    return said
