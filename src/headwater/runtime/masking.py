"""What listings of a state directory may show of events: that is for its declaration to say."""

from __future__ import annotations

from headwater.core.personal import Mask
from headwater.core.schema import Kind
from headwater.runtime.changes import remembered
from headwater.runtime.places import STATE
from headwater.runtime.settings import Settings


def mask(settings: Settings) -> Mask:
    """Hides what the app that was last folded here declares as personal; everything where none was."""
    said = remembered(settings.state_dir / STATE)
    if said is None:
        return Mask(None)
    return Mask(
        {
            name: {f["name"]: None if f.get("personal") else Kind(f["kind"]) for f in stream["fields"]}
            for name, stream in said["streams"].items()
        }
    )
