"""What a caller may do: a set of scopes, of which each route names those that open it.

`admin` is no scope that routes are checked against by itself: whoever has it has all the others, too.
"""

from __future__ import annotations

from headwater.core.errors import ConfigError, nearest

INGEST, PREDICT, OPERATE, ADMIN = "ingest", "predict", "operate", "admin"
SCOPES = {
    INGEST: "send events",
    PREDICT: "ask models",
    OPERATE: "read status, metrics and streams",
    ADMIN: "everything, also refused events with their text",
}
"""Scope -> what it is for."""

Scopes = frozenset[str]
NOTHING: Scopes = frozenset()
EVERYTHING: Scopes = frozenset(SCOPES)
OPEN: Scopes = frozenset({"open"})
"""Of a route that needs no key; no key has it."""


def parse(text: str, *, where: str) -> Scopes:
    """Scopes from names with commas between, or `all`, or `nothing`; what `admin` implies is in them.

    >>> sorted(parse("ingest, predict", where="--scope")), parse("admin", where="--scope") == EVERYTHING
    (['ingest', 'predict'], True)

    Raises:
        ConfigError: There is no such scope, or none is named.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if names == ["all"]:
        return EVERYTHING
    if names == ["nothing"]:
        return NOTHING
    unknown = next((name for name in names if name not in SCOPES), None)
    if unknown is not None or not names:
        raise ConfigError(
            "there is no such scope" if names else "no scope is named", where=where,
            expected=f"some of {', '.join(SCOPES)}", got=unknown or "nothing", next_step=nearest(unknown or "", SCOPES),
        )  # fmt: skip
    return granted(names)


def granted(names: list[str] | Scopes) -> Scopes:
    """What a key with these scopes may do."""
    return EVERYTHING if ADMIN in names else frozenset(names)
