"""What the door takes, told in formats that other tools read; made from the declared schemas alone.

What no such format has a word for (key, unit, lateness) goes into extra members that start with `x-`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from headwater.core.errors import Fatal, nearest
from headwater.core.schema import Schema
from headwater.ingest import asyncapi, avro, json_schema

_FORMATS: dict[str, Callable[[str, Mapping[str, Schema]], Any]] = {
    "json-schema": json_schema.document,
    "avro": avro.document,
    "asyncapi": asyncapi.document,
}
FORMATS = tuple(_FORMATS)


def describe(form: str, app: str, streams: Mapping[str, Schema]) -> Any:
    """One JSON document on an app's streams.

    Args:
        form: One of `FORMATS`.
        app: The app's name.
        streams: Its streams by name.

    Raises:
        Fatal: There is no such format.
    """
    if form not in _FORMATS:
        raise Fatal("no such format", where="--format", expected=", ".join(FORMATS), got=form, next_step=nearest(form, FORMATS))
    return _FORMATS[form](app, streams)
