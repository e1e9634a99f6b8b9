"""An assessment as a Headwater app: the file that `--write` saves.

A table's row becomes two events: a `Case`, with what was known at once, and an `Outcome`, when its label was. The app
learns what the ladder's first rung learnt, with the same hashes and steps, so that its replay comes to the same scores; it
has the last labels among its features only where "no change" beat the ladder.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from headwater.assess.assessment import Assessment
from headwater.assess.columns import WORDS
from headwater.assess.kinds import CATEGORY, TEXT
from headwater.assess.ladder import room_for
from headwater.assess.naming import field_name, field_names
from headwater.assess.times import MISSING
from headwater.core.batch import Ints
from headwater.core.duration import format_ms, parse_ms

MARK = "Written by `headwater assess`"
KEY = "case_id"
_HOUR, _DAY = 3_600_000, 86_400_000
_HALF_LIVES = {name: parse_ms(name) for name in ("1m", "10m", "1h", "6h", "1d", "7d", "30d", "90d")}
_EXACT = 2**53  # a float is a whole number for certain up to here
_SHARES = 8  # classes whose lately seen shares are features
_SOON = "1h"  # how long a label may take where the table does not say


def declare(found: Assessment) -> str:
    """The text of an app's file."""
    parts = [_head(found), _case(found), _outcome(found), _model(found)]
    return "\n\n\n".join(parts[:3]) + "\n\n\n" + parts[3]


def label_field(found: Assessment) -> str:
    """What the label is called in `Outcome`."""
    return field_name(found.choices.label, taken={KEY})


def key_field(found: Assessment) -> str:
    """What the key is called in `Case`, and in `Outcome`; "" without one."""
    key = found.choices.key
    return field_names(found.prepared.table.columns)[key] if key else ""


def python_type(found: Assessment, column: str) -> str:
    """The type of a column's field: float, int or str."""
    held = found.prepared.table.columns[column]
    kind = found.prepared.kinds[column].name
    if kind not in (CATEGORY, TEXT) and column != found.choices.key:
        return "float"
    return "int" if held.form.value == "number" else "str"


def used_columns(found: Assessment) -> list[str]:
    """The columns that are fields of `Case`: the features, and the key."""
    names = list(found.prepared.encoded.names)
    key = found.choices.key
    return names if key is None or key in names else [key, *names]


def label_type(found: Assessment) -> str:
    """The type of the label's field; of several classes that are no whole numbers, a text."""
    if found.prepared.table.label.is_text:
        return "str"
    if found.task != "multiclass":
        return "float"
    is_whole = all(float(name).is_integer() and abs(float(name)) < _EXACT for name in found.prepared.encoded.classes)
    return "int" if is_whole else "str"


def _head(found: Assessment) -> str:
    table = found.prepared.table
    said = [
        f'"""{_question(found)}',
        "",
        f"{MARK} from {_plain(table.file.path.name)}: one row there is a Case, and an Outcome later on.",
    ]
    if found.prepared.leaks:
        said += ["", f"Left out as suspected leaks: {', '.join(_plain(leak.column) for leak in found.prepared.leaks)}."]
    return "\n".join([*said, '"""', "", "import headwater as hw"])


def _question(found: Assessment) -> str:
    name = _plain(found.choices.label)
    if found.task == "regression":
        return f"How much will {name} be?"
    classes = found.prepared.encoded.classes
    return (
        f"Will {name} be {_plain(classes[1])}?"
        if found.task == "binary"
        else f"Which of {len(classes)} classes will {name} be?"
    )


def _case(found: Assessment) -> str:
    fields = field_names(found.prepared.table.columns)
    lines = [
        f'class Case(hw.Event, key="{KEY}", {_times(found, found.prepared.table.time_ms)}):',
        f"    {KEY}: hw.Field[int]",
    ]
    lines += [f"    {fields[name]}: hw.Field[{python_type(found, name)} | None]" for name in used_columns(found)]
    return "\n".join(lines)


def _outcome(found: Assessment) -> str:
    kind = label_type(found)
    lines = [
        f'class Outcome(hw.Event, key="{KEY}", {_times(found, found.prepared.table.known_ms)}):',
        f"    {KEY}: hw.Field[int]",
    ]
    if found.choices.key:
        lines.append(f"    {outcome_key(found)}: hw.Field[{python_type(found, found.choices.key)} | None]")
    return "\n".join([*lines, f"    {label_field(found)}: hw.Field[{kind}]"])


def outcome_key(found: Assessment) -> str:
    """What the key is called in `Outcome`, beside its label."""
    key = key_field(found)
    return f"{key}_" if key == label_field(found) else key


def _times(found: Assessment, times: Ints) -> str:
    """Options of a stream, by its times in the order of the file: how far they go back, and how far they jump ahead.

    An event more than a day after all others would be taken for a wrong clock.
    """
    times = found.prepared.table.in_file_order(times)
    times = times[times != MISSING]
    high = np.maximum.accumulate(times)
    back = int((high - times).max())
    ahead = int((times[1:] - high[:-1]).max()) if times.size > 1 else 0
    options = f'lateness="{format_ms(max(1, math.ceil(back / _HOUR)) * _HOUR)}"'
    return f'{options}, max_ahead="{math.ceil(ahead * 1.5 / _DAY)}d"' if ahead > _DAY else options


def _model(found: Assessment) -> str:
    encoded = found.prepared.encoded
    value = _value(found)
    first = int(encoded.n * 0.2)
    lines = ["outcome = hw.Model(", '    "outcome",', "    on=Case,", "    features=["]
    lines += [f"        {feature}," for feature in _features(found)]
    lines += ["    ],", "    label=hw.label(", f"        {value},", f"        join=Outcome.{KEY},", f"        on=Case.{KEY},"]
    lines += [f'        within="{_within(found)}",', "        missing=hw.UNKNOWN,", "    ),"]
    lines.append(f"    learner={_learner(found)},")
    if key_field(found):
        lines += [f"    baseline_by=Outcome.{outcome_key(found)},", f"    baseline_at=Case.{key_field(found)},"]
    lines += [
        f'    twins={{"frozen": hw.once(after={first})}},',
        ")",
        "",
        f'app = hw.App("{_app_name(found)}", models=[outcome])',
        "",
    ]
    return "\n".join(lines)


def _learner(found: Assessment) -> str:
    spec = found.spec
    if found.task == "multiclass":
        room = room_for(len(found.prepared.encoded.classes))
        return f"hw.Softmax(classes={room}, eta0={spec.eta0!r}, forget={spec.forget!r}, bits={spec.bits})"
    loss = "squared" if found.task == "regression" else "log"
    level = "" if spec.intercept_eta is None else f", intercept_eta={spec.intercept_eta!r}"
    return f'hw.Linear(loss="{loss}", eta0={spec.eta0!r}, forget={spec.forget!r}{level})'


def _features(found: Assessment) -> Iterable[str]:
    encoded = found.prepared.encoded
    fields = field_names(found.prepared.table.columns)
    yield from (f"Case.{fields[name]}" for name in encoded.numbers)
    yield from (f"hw.category(Case.{fields[name]})" for name in encoded.categories)
    yield from (f"hw.words(Case.{fields[name]}, n={WORDS})" for name in encoded.texts)
    if found.but:  # "no change" beat the ladder: what was true lately is a feature
        by = f", by=Outcome.{outcome_key(found)}, at=Case.{key_field(found)}" if key_field(found) else ""
        if found.task != "multiclass":
            yield f"hw.last({_value(found)}{by}, n=3)"
        for value in _lately(found):
            yield f'hw.mean({value}{by}, half_life="{_half_life(found)}")'


def _lately(found: Assessment) -> list[str]:
    """Expressions whose recent means are features: the label, or whether it was each of the most frequent classes."""
    if found.task != "multiclass":
        return [_value(found)]
    encoded = found.prepared.encoded
    counts = np.bincount(encoded.y[~np.isnan(encoded.y)].astype(np.int64), minlength=len(encoded.classes))
    names = [encoded.classes[i] for i in np.argsort(-counts, kind="stable")[:_SHARES]]
    return [f"{_value(found)} == {name if label_type(found) == 'int' else repr(name)}" for name in names]


def _value(found: Assessment) -> str:
    """The label as an expression over `Outcome`."""
    field = f"Outcome.{label_field(found)}"
    classes = found.prepared.encoded.classes
    if found.task != "binary" or classes == ("0", "1"):
        return field
    name = classes[1]
    return f"{field} == {name!r}" if found.prepared.table.label.is_text else f"{field} == {float(name)!r}"


def _within(found: Assessment) -> str:
    """Half as long again as the slowest label of the table."""
    slowest = found.label_facts().get("greatest_delay_ms")
    if slowest is None:
        return _SOON
    unit = _DAY if slowest > 2 * _DAY else _HOUR
    return format_ms(max(1, math.ceil(slowest * 1.5 / unit)) * unit)


def _half_life(found: Assessment) -> str:
    """About the time of a hundred rows."""
    time = found.prepared.encoded.time_ms
    hundred = int(time[-1] - time[0]) * 100 // time.size
    return next((name for name, ms in _HALF_LIVES.items() if ms >= hundred), "90d")


def _app_name(found: Assessment) -> str:
    plain = "".join(
        c if c.isascii() and c.isalnum() else "_" for c in found.prepared.table.file.path.name.split(".")[0].lower()
    )
    return (plain if plain[:1].isalpha() else f"app_{plain}")[:60] or "app"


def _plain(text: str) -> str:
    """A name as it may stand in a docstring."""
    return "".join(c if c.isprintable() and c not in '"\\' else "?" for c in text)[:80]
