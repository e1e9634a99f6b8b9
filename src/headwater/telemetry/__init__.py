"""What Headwater says of itself: metrics and structured logs.

In: counts, durations and messages of every room. Out: a Prometheus page, lines on stderr. Nothing here decides anything,
and no event's content passes through: labels are names that the app declared, never values that a client sent.
"""
