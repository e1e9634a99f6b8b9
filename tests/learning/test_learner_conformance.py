"""Every learner of the event lane keeps what the suite demands, and a learner that does not is found out."""

from __future__ import annotations

import pytest
from river import compose, forest, linear_model, preprocessing, tree
from sklearn.linear_model import SGDClassifier, SGDRegressor
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier

import headwater as hw
from headwater.testing.in_blocks import InBlocks
from headwater.testing.learner_conformance import LearnerConformance


def one_hot(model):
    """Numbers scaled, categories as columns, then the model."""
    categories = compose.SelectType(str) | preprocessing.OneHotEncoder()
    return (compose.SelectType(float) | preprocessing.StandardScaler()) + categories | model


class TestLinear(LearnerConformance):
    def make_spec(self):
        return InBlocks()


class TestRiverLogisticRegression(LearnerConformance):
    def make_spec(self):
        return hw.River(one_hot(linear_model.LogisticRegression()), block=8)


class TestRiverTree(LearnerConformance):
    def make_spec(self):
        return hw.River(tree.HoeffdingTreeClassifier(grace_period=10), block=16)


class TestRiverForest(LearnerConformance):
    def make_spec(self):
        return hw.River(one_hot(forest.ARFRegressor(n_models=3, seed=7)), block=10)


class TestSklearnSGD(LearnerConformance):
    def make_spec(self):
        return hw.SklearnPartialFit(SGDClassifier(loss="log_loss", average=True, random_state=0), block=16, bits=4)


class TestSklearnRegression(LearnerConformance):
    def make_spec(self):
        return hw.SklearnPartialFit(SGDRegressor(random_state=0), block=16, bits=4)


class TestSklearnBayes(LearnerConformance):
    def make_spec(self):
        return hw.SklearnPartialFit(GaussianNB(), block=16, bits=4)


class TestSklearnMLP(LearnerConformance):
    def make_spec(self):
        return hw.SklearnPartialFit(MLPClassifier(hidden_layer_sizes=(4,), random_state=0), block=16, bits=4)


class TestLightGBM(LearnerConformance):
    def make_spec(self):
        pytest.importorskip("lightgbm")
        return hw.LightGBM(refit_every=32, window=80, trees=5, min_data_in_leaf=3)
