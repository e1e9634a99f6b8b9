"""The door for events: bytes of a producer in, rows of the log and one verdict for each event out.

Every event sent is accepted, known already, or quarantined as a dead letter with its reason; none is dropped, and a bad
one never holds up a good one. An answer is given only after the commit. No HTTP server here: the gateway calls `Door`.

Names are imported when they are first used: a client must not wait for the kernels that only the door needs.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headwater.ingest.client import Client, Totals
    from headwater.ingest.door import Door
    from headwater.ingest.limits import Limits
    from headwater.ingest.quarantine import DeadLetter, Outcome, Selection, replay, show
    from headwater.ingest.repairs import Edit, drop_field, parse_edit, rename_field, set_field
    from headwater.ingest.reply import Reply

__all__ = [
    "Client",
    "DeadLetter",
    "Door",
    "Edit",
    "Limits",
    "Outcome",
    "Reply",
    "Selection",
    "Totals",
    "drop_field",
    "parse_edit",
    "rename_field",
    "replay",
    "set_field",
    "show",
]

_HOMES = ("client", "door", "limits", "quarantine", "repairs", "reply")


def __getattr__(name: str) -> object:
    if name in __all__:
        for home in _HOMES:
            module = import_module(f"headwater.ingest.{home}")
            if name in vars(module):
                return vars(module)[name]
    raise AttributeError(f"module 'headwater.ingest' has no attribute {name!r}")
