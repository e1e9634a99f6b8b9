"""River's drift detectors behind one small interface; the only file that imports River's `drift`.

A sensor tests whether errors have changed, not how bad they are: it alarms once, on a window that is still full of the old
world, and is silent while the error stays high. So it advises: it names a suspected change, it decides nothing. Who feeds it
measures what that takes and charges it like any other work.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from headwater.core.batch import Floats
from headwater.core.errors import DeclarationError, Fatal

NAMES = ("adwin", "ddm", "kswin", "page_hinkley")
_WINDOW = 100  # of KSWIN, in labels


class Sensor:
    """One detector over one stream of errors.

    Args:
        name: "adwin", "ddm", "kswin" or "page_hinkley".
        absolute: Errors are distances: they are judged in units of the first ones' mean (DDM, which takes only wrong or right:
            whether they are above it). Without it, an error is 1 for wrong, 0 for right, or a loss of that size.
        seed: Of KSWIN, which draws a sample.

    Attributes:
        n_alarms: Alarms so far.

    Raises:
        DeclarationError: No sensor has that name.
        Fatal: River is not installed.

    >>> import numpy as np
    >>> sensor = Sensor("page_hinkley")
    >>> sensor.feed(np.zeros(500)), sensor.feed(np.ones(500)), sensor.n_alarms
    (False, True, 1)
    """

    def __init__(self, name: str, *, absolute: bool = False, seed: int = 0) -> None:
        if name not in NAMES:
            raise DeclarationError("no such drift sensor", where="Sensor", expected=", ".join(NAMES), got=name)
        self.name, self.absolute, self.n_alarms = name, absolute, 0
        self._seed, self._unit = seed, 0.0
        self._detector = _detector(name, seed)

    def feed(self, errors: Floats) -> bool:
        """Look at the errors float64[n] of labels in the order in which they came; whether it alarmed.

        After an alarm the rest of them is not looked at, and the detector starts anew. NaN is an answer that is not there.
        """
        errors = errors[~np.isnan(errors)]
        for error in self._scaled(errors).tolist():
            self._detector.update(error)
            if self._detector.drift_detected:
                self.n_alarms += 1
                self._detector = _detector(self.name, self._seed + self.n_alarms)
                return True
        return False

    def _scaled(self, errors: Floats) -> Floats:
        if not self.absolute or errors.size == 0:
            return errors
        self._unit = self._unit or float(errors.mean())
        if self.name == "ddm":
            return (errors > self._unit).astype(np.float64)
        return errors / (self._unit or 1.0)


def _detector(name: str, seed: int) -> Any:
    try:
        from river import drift as known  # noqa: PLC0415 - optional
    except ImportError as missing:
        raise Fatal(
            "drift sensors need River, which is not installed", where=f"sensor {name}", next_step="Install headwater[river].",
        ) from missing  # fmt: skip
    drift: Any = known
    if name == "ddm":
        return drift.binary.DDM()
    if name == "kswin":
        return drift.KSWIN(alpha=0.0001, window_size=_WINDOW, seed=seed)
    return drift.ADWIN() if name == "adwin" else drift.PageHinkley()
