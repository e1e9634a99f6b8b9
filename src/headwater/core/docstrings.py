"""What a stream's docstring says of its fields: the section `Attributes:` of Google's layout."""

from __future__ import annotations

import re
from typing import NamedTuple

_ENTRY = re.compile(r" {1,4}(\w+)(?: \(([^)]*)\))?: *(.*)")
_HEADING = "Attributes:"


class FieldDoc(NamedTuple):
    """A field's unit (empty where none is told) and what it is."""

    unit: str = ""
    text: str = ""


def attributes(docstring: str) -> tuple[str, dict[str, FieldDoc]]:
    r"""The text before the section, and what each line `name: text` or `name (unit): text` of the section says.

    Args:
        docstring: As `inspect.cleandoc` gives it.

    >>> attributes("An order.\n\nAttributes:\n    way (km): By road,\n        one way.")
    ('An order.', {'way': FieldDoc(unit='km', text='By road, one way.')})
    """
    about, _, section = docstring.partition(_HEADING)
    docs: dict[str, FieldDoc] = {}
    name = ""
    for line in section.splitlines():
        if entry := _ENTRY.fullmatch(line):
            name = entry[1]
            docs[name] = FieldDoc(entry[2] or "", entry[3])
        elif name and line.strip():
            docs[name] = FieldDoc(docs[name].unit, f"{docs[name].text} {line.strip()}")
    return " ".join(about.split()), docs
