"""Events out: the log's streams and the system's notices, read by whoever follows them.

In: the log, the notices that other rooms have written down, and who wants to hear of them. Out: pages of one stream's rows
as columns, JSON, CloudEvents or Arrow; calls of handlers and webhooks, at least once and in order. Never here: a decision,
a change of the log, or anything that holds up those who write it.
"""

from headwater.following.consumer import Consumer, Manner
from headwater.following.cursors import Cursors, Parked, Progress
from headwater.following.declaring import Consuming
from headwater.following.delivering import Delivery
from headwater.following.envelope import Envelope, Notice
from headwater.following.notices import FEATURES, INCIDENTS, PLANS, VERSIONS, Notices
from headwater.following.page import Page
from headwater.following.protocol import Followed, Target
from headwater.following.streams import Streams, UnknownStream

__all__ = [
    "FEATURES",
    "INCIDENTS",
    "PLANS",
    "VERSIONS",
    "Consumer",
    "Consuming",
    "Cursors",
    "Delivery",
    "Envelope",
    "Followed",
    "Manner",
    "Notice",
    "Notices",
    "Page",
    "Parked",
    "Progress",
    "Streams",
    "Target",
    "UnknownStream",
]
