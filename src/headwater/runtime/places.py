"""What lies where in a state directory, beside the log and the registry, whose places are settings."""

from __future__ import annotations

BELLS = "bells"
"""Sockets that wake who reads the log."""
FOLLOWING = "following"
"""Notices, and the cursors of consumers."""
STATE = "state"
"""The saved fold."""
VIEW = "view"
"""What is published to gateways."""
NEXT = "next"
"""State and view of a changed app that is folded beside the running one."""
SEEDED = "seeded"
"""In `NEXT`: whose state it is, once all that is unchanged has been taken over."""
PREVIOUS = "previous"
"""State and view of the app before it was changed."""
