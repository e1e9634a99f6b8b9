"""An app of two models: one of ours, and one whose learner fails as the questions and labels have it."""

import time

import numpy as np

import headwater as hw
from headwater.learning.protocol import LearnerState


class Question(hw.Event, key="id_", lateness="1h"):
    id_: hw.Field[str]
    x: hw.Field[float]


class Outcome(hw.Event, key="id_", lateness="1h"):
    id_: hw.Field[str]
    y: hw.Field[float]


class Fragile:
    """Says how much it has learnt; hangs where a question's x is 13, and cannot learn what came with an x of 66."""

    loss, bits, block = "squared", 8, 4

    def describe(self):
        return {"learner": "fragile"}

    def start(self, numbers, categories):
        return Running()


class Running:
    n = 0.0

    def score_many(self, xs, cs):
        if (xs[:, 0] == 13).any():
            time.sleep(600)
        return np.full(xs.shape[0], self.n)

    def learn_block(self, xs, cs, ys):
        if (xs[:, 0] == 66).any():
            raise ArithmeticError("66")
        self.n += len(ys)

    def state(self):
        return LearnerState({}, {"n": np.array([self.n])})

    def load(self, state):
        self.n = float(state.arrays["n"][0])


label = hw.label(Outcome.y, join=Outcome.id_, on=Question.id_, within="1h")
fragile = hw.Model("fragile", on=Question, features=[Question.x], label=label, learner=Fragile())
sturdy = hw.Model("sturdy", on=Question, features=[Question.x], label=label, learner=hw.Linear(loss="squared"))
app = hw.App("failing", models=[fragile, sturdy])
