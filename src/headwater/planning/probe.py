"""The paired probe with ski-rental: when has what the slow model alone can see changed?

The fast layer keeps a learner without the slow model always fresh: that is the probe, and it costs nothing more. On the same
labels the learner that goes on from the slow model's trees is ahead of it by some advantage; common noise cancels. Right
after a fit the advantage is what the model is worth when fresh; what is missing of it later is the price of waiting:

    s <- max(0, s + n * (fresh - advantage - slack))

An update is due when s reaches what the update costs in loss. With a price that does not fall this is ski-rental: at most
twice what a clairvoyant would have paid.
"""

from __future__ import annotations

from dataclasses import dataclass

FRESH_POINTS = 2  # decision points after an update that tell what fresh is worth


@dataclass(slots=True)
class Probe:
    """The state of the rule for one slow model.

    Attributes:
        slack: Loss per label that is put down to noise.
        fresh: Advantage per label while the model was fresh.
        owed: s: loss that waiting has cost so far.
        advantage: The last decision point's.
        n_points: Decision points since the update.
    """

    slack: float = 0.0
    fresh: float = 0.0
    owed: float = 0.0
    advantage: float = 0.0
    n_points: int = 0

    def renew(self) -> None:
        """The slow model has been exchanged."""
        self.fresh, self.owed, self.n_points = 0.0, 0.0, 0

    def observe(self, n: int, probe_loss: float, model_loss: float) -> None:
        """Mean losses of both on the same n labels of one decision point."""
        if n == 0:
            return
        self.advantage = probe_loss - model_loss
        self.n_points += 1
        if self.n_points <= FRESH_POINTS:
            self.fresh += (self.advantage - self.fresh) / self.n_points
            return
        self.owed = max(0.0, self.owed + n * (self.fresh - self.advantage - self.slack))
