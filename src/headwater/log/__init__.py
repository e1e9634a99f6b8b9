"""The append-only event log: the one truth of which everything else is a fold.

In: batches of events in columns, from any process. Out: a receipt for each row once it is on disk, and chunks in one global
order from any retained seq. Never here: validation of what events say, anything computed from them, a decision about them; and
nothing stored is ever changed, only dropped from the start by retention.
"""

from headwater.log.control import ControlEvent, control_batch, control_events
from headwater.log.lmdb import LmdbLog
from headwater.log.memory import MemoryLog
from headwater.log.open import open_log
from headwater.log.protocol import Chunk, Counts, EventLog, Receipt, Verdict
from headwater.log.wake import Doorbell, ring

__all__ = [
    "Chunk",
    "ControlEvent",
    "Counts",
    "Doorbell",
    "EventLog",
    "LmdbLog",
    "MemoryLog",
    "Receipt",
    "Verdict",
    "control_batch",
    "control_events",
    "open_log",
    "ring",
]
