"""A field's unit: what its docstring says, else what the end of its name says."""

from __future__ import annotations

from headwater.core.schema import FieldSpec, Kind

_ENDINGS = {
    "bytes": "By", "celsius": "Cel", "cm": "cm", "days": "d", "g": "g", "h": "h", "hours": "h", "hz": "Hz", "kb": "kBy",
    "kg": "kg", "km": "km", "kmh": "km/h", "kw": "kW", "kwh": "kW.h", "m": "m", "mb": "MBy", "minutes": "min", "mm": "mm",
    "ms": "ms", "pct": "%", "percent": "%", "s": "s", "seconds": "s", "us": "us", "w": "W",
}  # fmt: skip


def unit_of(spec: FieldSpec) -> str:
    """The unit, in the codes of UCUM where the name tells it; empty where none is known.

    >>> unit_of(FieldSpec("distance_km", Kind.FLOAT)), unit_of(FieldSpec("price", Kind.FLOAT, unit="EUR"))
    ('km', 'EUR')
    """
    if spec.unit or spec.kind in (Kind.STR, Kind.BOOL):
        return spec.unit
    word, _, ending = spec.name.rpartition("_")
    return _ENDINGS.get(ending, "") if word else ""
