"""Sensors see a change, and stay calm without one."""

from __future__ import annotations

import numpy as np
import pytest

from headwater.core.errors import DeclarationError
from headwater.planning.sensors import NAMES, Sensor

drift = pytest.importorskip("river.drift")


@pytest.mark.parametrize("name", NAMES)
def test_a_change_is_seen_and_the_sensor_starts_anew(name):
    rng = np.random.default_rng(0)
    sensor = Sensor(name, seed=1)
    calm = (rng.random(1000) < 0.1).astype(float)
    assert not sensor.feed(calm)
    assert sensor.feed((rng.random(1000) < 0.7).astype(float))
    assert sensor.n_alarms == 1
    assert not sensor.feed(calm)


@pytest.mark.parametrize("name", NAMES)
def test_distances_are_judged_in_their_own_unit(name):
    rng = np.random.default_rng(1)
    sensor = Sensor(name, absolute=True)
    assert not sensor.feed(np.abs(rng.normal(1000, 100, 1500)))
    assert sensor.feed(np.abs(rng.normal(10_000, 100, 1500)))


def test_adwin_alarms_where_river_s_own_does():
    rng = np.random.default_rng(2)
    errors = np.concatenate([rng.random(800) < 0.1, rng.random(800) < 0.5]).astype(float)
    own, sensor, at = drift.ADWIN(), Sensor("adwin"), None
    for i, error in enumerate(errors):
        own.update(error)
        assert sensor.feed(errors[i : i + 1]) == own.drift_detected
        if own.drift_detected:
            at = i
            break
    assert at is not None
    assert at > 800


def test_an_unknown_sensor_is_refused():
    with pytest.raises(DeclarationError, match="page_hinkley"):
        Sensor("seismograph")
