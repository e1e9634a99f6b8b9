"""What a planner has learnt, as JSON, and put back into a fresh one: attributes of our own objects, nothing executable."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

_PLAIN = (bool, int, float, str, type(None))


def kept(thing: Any) -> Any:
    """What JSON can say of an object's attributes; what it cannot is left out, and is as when the object was made.

    >>> from headwater.planning.bucket import Bucket
    >>> kept(Bucket(1.0, 10.0, 4.0))
    {'rate': 1.0, 'depth': 10.0, 'level': 4.0, '_reserved': 0.0}
    """
    if isinstance(thing, _PLAIN):
        return thing
    if isinstance(thing, np.ndarray):
        return {"array": thing.tolist(), "dtype": thing.dtype.str}
    if isinstance(thing, np.generic):
        return thing.item()
    if isinstance(thing, list | tuple):
        return [kept(part) for part in thing]
    if isinstance(thing, dict):
        return {str(name): kept(part) for name, part in thing.items()}
    return {name: kept(getattr(thing, name)) for name in _names(thing)}


def put_back(thing: Any, found: dict[str, Any], skip: tuple[str, ...] = ()) -> None:
    """Set the attributes of an object that was just made; one that is not there any more is passed over."""
    for name in _names(thing):
        if name in found and name not in skip:
            now = getattr(thing, name)
            changed = _again(now, found[name])
            if changed is not now:
                setattr(thing, name, changed)


def _again(now: Any, found: Any) -> Any:
    if isinstance(found, dict) and "array" in found:
        return np.array(found["array"], found["dtype"])
    if isinstance(now, dict) and isinstance(found, dict):
        return {name: _again(now[name], found[name]) if name in found else now[name] for name in now}
    if isinstance(now, _PLAIN) or isinstance(found, _PLAIN):
        return found
    if isinstance(now, list | tuple):
        return type(now)(found)
    put_back(now, found)
    return now


def _names(thing: Any) -> Iterator[str]:
    slots = [name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())]
    return (name for name in dict.fromkeys([*getattr(thing, "__dict__", {}), *slots]) if hasattr(thing, name))
