"""The door for events: bytes of a producer in, rows of the log and one verdict for each event out.

Every event sent is accepted, known already, or quarantined as a dead letter with its reason; none is dropped, and a bad
one never holds up a good one. An answer is given only after the commit. No HTTP server here: the gateway calls `Door`.
"""

from headwater.ingest.client import Client, Totals
from headwater.ingest.door import Door
from headwater.ingest.limits import Limits
from headwater.ingest.quarantine import DeadLetter, Outcome, Selection, letters, replay, show
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
    "letters",
    "parse_edit",
    "rename_field",
    "replay",
    "set_field",
    "show",
]
