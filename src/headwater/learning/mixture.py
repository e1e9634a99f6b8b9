"""Experts fused by what their answers have cost so far: Hedge with a fixed share, rates by AdaHedge, experts that may sleep.

The answer is the weighted mean of the experts that are awake. When the label comes, an awake expert pays its own loss and a
sleeping one the mixture's, so that silence neither helps nor harms it (Freund et al. 1997). Then a share `share` of the
weight is dealt out evenly (Herbster & Warmuth 1998), so that an expert that was bad for long comes back in a few labels.

- "log", probabilities: a weight is multiplied by p^rate, p being what its expert gave to what happened. Log loss is mixable
  for rates up to 1, so after T labels, for every expert k that was always awake,
  `loss <= loss_k + (ln(K) + T * ln(1 / (1 - share))) / rate`.
  Labels that come late make a rate of 1 overbold: weights move on losses that cannot answer to each other yet.
- "absolute", numbers: weights are exp(-rate * C[k]), where the potential C[k] is the expert's cumulated loss, less what the
  share gave it, and rate = ln(K) / gap; `gap` cumulates the mean loss less the mix loss (AdaHedge: de Rooij et al. 2014,
  "Follow the leader if you can, hedge if you must"). The mix potential -ln(mean(exp(-rate * C))) / rate does not grow with
  the rate, and the share conserves it; so
  `loss <= loss_k + gap * (2 + T * ln(1 / (1 - share)) / ln(K))`, and with share = 0 also
  `loss <= loss_k + S * (sqrt(T * ln(K)) + 16/3 * ln(K) + 2)` for losses within a range of S.

Stacking is one more expert, so Hedge is its fence: a stack that goes wrong costs no more than the bound.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from headwater.core.batch import Floats
from headwater.core.compiled import inline, inlined, kernel
from headwater.core.errors import DeclarationError

SHARE, GAP, LOSS, LABELS, RATE = range(5)
EPS = 1e-6  # no expert is surer than this: one label costs at most 13.8


@inline
def clipped(p: float) -> float:
    """A probability within [EPS, 1 - EPS]."""
    return min(max(p, EPS), 1.0 - EPS)


def losses(answers: Floats, labels: Floats, *, absolute: bool) -> Floats:
    """What each answer has cost: its distance, or its log loss as a probability of a label 0 or 1. NaN where one is missing."""
    if absolute:
        return np.abs(answers - labels)
    p = np.clip(answers, EPS, 1.0 - EPS)
    return -(labels * np.log(p) + (1.0 - labels) * np.log1p(-p))


@inlined
def fuse(answers: Floats, weights: Floats) -> float:
    """The weighted mean of the answers that are there; NaN where nobody is awake."""
    total, mass = 0.0, 0.0
    for k in range(weights.size):
        if not np.isnan(answers[k]):
            total += weights[k] * answers[k]
            mass += weights[k]
    return float(total / mass) if mass > 0.0 else np.nan


@inlined
def reward_log(answers: Floats, label: float, weights: Floats, state: Floats) -> None:
    """Bayes' rule, tempered by the rate, for the experts awake; then the fixed share. `label` is 0 or 1."""
    n, mass, given, after, rate = weights.size, 0.0, 0.0, 0.0, state[RATE]
    for k in range(n):
        if not np.isnan(answers[k]):
            p = clipped(answers[k] if label == 1.0 else 1.0 - answers[k])
            mass += weights[k]
            given += weights[k] * p
            weights[k] *= p if rate == 1.0 else p**rate
            after += weights[k]
    if mass <= 0.0:
        return
    share = state[SHARE]
    for k in range(n):
        if not np.isnan(answers[k]):
            weights[k] *= mass / after
        weights[k] = (1.0 - share) * weights[k] + share / n
    state[LOSS] -= np.log(given / mass)
    state[LABELS] += 1.0


@inline
def _rate(n: int, gap: float) -> float:
    """AdaHedge's rate: infinite until two experts have differed."""
    return float(np.log(n) / gap) if gap > 0.0 and n > 1 else np.inf


@inlined
def reward_absolute(answers: Floats, label: float, weights: Floats, potentials: Floats, losses: Floats, state: Floats) -> None:
    """One round of AdaHedge with a fixed share; `losses` is room for K numbers."""
    n, mass, mean, answer = weights.size, 0.0, 0.0, 0.0
    for k in range(n):
        if not np.isnan(answers[k]):
            losses[k] = abs(answers[k] - label)
            mass += weights[k]
            mean += weights[k] * losses[k]
            answer += weights[k] * answers[k]
    if mass <= 0.0:
        return
    mean /= mass
    state[LOSS] += abs(answer / mass - label)
    state[LABELS] += 1.0
    rate = _rate(n, state[GAP])
    least, before = np.inf, np.inf
    for k in range(n):
        if np.isnan(answers[k]):
            losses[k] = mean
        before = min(before, potentials[k])
        potentials[k] += losses[k]
        least = min(least, potentials[k])
    if rate == np.inf:
        state[GAP] += max(mean - (least - before), 0.0)
    else:
        behind, now = 0.0, 0.0
        for k in range(n):
            behind += np.exp(-rate * (potentials[k] - losses[k] - before))
            losses[k] = np.exp(-rate * (potentials[k] - least))
            now += losses[k]
        state[GAP] += max(mean - (least - before - np.log(now / behind) / rate), 0.0)
        share = state[SHARE]
        for k in range(n):
            potentials[k] = least - (np.log(now) + np.log((1.0 - share) * losses[k] / now + share / n + 1e-300)) / rate
    _weigh(weights, potentials, _rate(n, state[GAP]))


@inline
def _weigh(weights: Floats, potentials: Floats, rate: float) -> None:
    """Weights exp(-rate * potential), of sum 1; at an infinite rate, even among the best."""
    least, total = potentials.min(), 0.0
    for k in range(weights.size):
        behind = potentials[k] - least
        weights[k] = np.exp(-rate * behind) if behind > 0.0 else 1.0
        total += weights[k]
    for k in range(weights.size):
        weights[k] /= total


@kernel
def _learn(answers: Floats, labels: Floats, absolute: bool, weights: Floats, potentials: Floats, state: Floats) -> Floats:
    fused, losses = np.empty(labels.size), np.empty(weights.size)
    for i in range(labels.size):
        fused[i] = fuse(answers[i], weights)
        if absolute:
            reward_absolute(answers[i], labels[i], weights, potentials, losses, state)
        else:
            reward_log(answers[i], labels[i], weights, state)
    return fused


class Mixture:
    """A fixed set of experts and what they have earned.

    Args:
        n_experts: K, at least 1.
        loss: "log" for probabilities of a yes/no label, "absolute" for numbers.
        share: Part of the weight that each label deals out evenly; about 1 / labels between two changes of the best expert.
        rate: Of learning from probabilities, 0 < rate <= 1; "absolute" finds its own.

    Attributes:
        weights: float64[K], of sum 1.

    >>> mixture = Mixture(2, loss="log", share=0.0)
    >>> bool(mixture.learn(np.array([[0.9, 0.5]] * 3), np.ones(3))[0] == 0.7)
    True
    >>> mixture.weights.round(3).tolist()
    [0.854, 0.146]
    """

    def __init__(self, n_experts: int, *, loss: Literal["log", "absolute"], share: float = 0.001, rate: float = 1.0) -> None:
        if n_experts < 1 or not 0 <= share < 1 or not 0 < rate <= 1 or loss not in {"log", "absolute"}:
            raise DeclarationError(
                "a mixture cannot be made so", where="Mixture",
                expected="n_experts >= 1, 0 <= share < 1, 0 < rate <= 1, loss 'log' or 'absolute'",
                got=f"n_experts={n_experts}, share={share}, rate={rate}, loss={loss!r}",
            )  # fmt: skip
        self.absolute = loss == "absolute"
        self.weights: Floats = np.full(n_experts, 1.0 / n_experts)
        self.potentials: Floats = np.zeros(n_experts)
        self.state: Floats = np.array([share, 0.0, 0.0, 0.0, rate])

    def answer(self, answers: Floats) -> float:
        """One fused answer from float64[K]; NaN is an expert that sleeps."""
        return float(_fused(answers, self.weights))

    def learn(self, answers: Floats, labels: Floats) -> Floats:
        """Judge answers float64[n, K] by labels float64[n] in turn; returns the fused answers, each made before its label."""
        return _learn(
            np.ascontiguousarray(answers, np.float64), labels, self.absolute, self.weights, self.potentials, self.state
        )

    @property
    def loss(self) -> float:
        """What the mixture has lost, in nats or in the label's unit."""
        return float(self.state[LOSS])

    def bound(self) -> float:
        """How much more than any expert that was always awake it can have lost; see the module's text."""
        n, labels, shared = self.weights.size, self.state[LABELS], -math.log1p(-self.state[SHARE])
        if not self.absolute:
            return float((math.log(n) + labels * shared) / self.state[RATE])
        return float(self.state[GAP] * (2 + (labels * shared / math.log(n) if n > 1 else 0)))


@kernel
def _fused(answers: Floats, weights: Floats) -> float:
    return float(fuse(answers, weights))
