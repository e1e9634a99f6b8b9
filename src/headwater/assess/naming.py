"""Column names to names of fields in Python, where those differ."""

from __future__ import annotations

import keyword
import re
from collections.abc import Collection, Iterable

_TAKEN = {"id", "source", "time", "stream", "schema", "replace"}  # of every event; see core.event


def field_names(columns: Iterable[str]) -> dict[str, str]:
    """Column -> a field's name that Python and `hw.Event` accept, different for each.

    >>> field_names(["carrier", "arr delay", "arr-delay", "id", "2nd", "class"]).values()
    dict_values(['carrier', 'arr_delay', 'arr_delay_2', 'id_', 'column_2nd', 'class_'])
    """
    made: dict[str, str] = {}
    used = {"case_id"}
    for column in columns:
        made[column] = field_name(column, used)
        used.add(made[column])
    return made


def field_name(column: str, taken: Collection[str]) -> str:
    """One column's field, other than those that are taken."""
    name = re.sub(r"\W", "_", column, flags=re.ASCII).strip("_") or "column"
    name = f"column_{name}" if name[0].isdigit() else name
    name = f"{name}_" if name in _TAKEN or keyword.iskeyword(name) else name
    plain, number = name, 2
    while name in taken:
        name, number = f"{plain}_{number}", number + 1
    return name
