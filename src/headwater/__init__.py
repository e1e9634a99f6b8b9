"""Headwater keeps machine-learning models fresh from event streams.

    events -> log -> features -> score -> judge -> learn -> publish -> /predict
               ^                                                          |
               +----------------- answers and outcomes -------------------+

Declare streams as `Event` classes, what a model may look at as features, what turns out to be true as a `label`, and put
them into an `App`. `headwater run app.py` serves it; `headwater replay app.py --input ...` judges it on history.

Names are imported when they are first used: `headwater --help` must not wait for a compiler.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headwater.app import AnyFeature, App, Model, Publish, every, every_labels, once
    from headwater.core.errors import DeclarationError, Fatal, HeadwaterError, Retryable
    from headwater.core.event import Event, Field
    from headwater.core.expressions import Expr
    from headwater.evaluation.labels import NEGATIVE, UNKNOWN, label
    from headwater.features.aggregates import (
        category,
        count,
        day,
        ewma,
        ewma_variance,
        hour,
        last,
        max,  # noqa: A004 - hw.max reads as the field's word
        mean,
        min,  # noqa: A004
        since,
        sum,  # noqa: A004
        variance,
        weekday,
        words,
        zscore,
    )
    from headwater.features.limits import Guard, Limits
    from headwater.following.envelope import Envelope, Notice
    from headwater.learning.classes import Softmax
    from headwater.learning.fast_lane import Fast
    from headwater.learning.lightgbm import LightGBM
    from headwater.learning.linear import Linear
    from headwater.learning.river import River
    from headwater.learning.sklearn import SklearnPartialFit
    from headwater.planning.declaring import ADWIN, DDM, KSWIN, PAGE_HINKLEY, Planner, manual, metric, on_drift, when

__version__ = "0.1.0"

__all__ = [
    "ADWIN", "DDM", "KSWIN", "NEGATIVE", "PAGE_HINKLEY", "UNKNOWN", "AnyFeature", "App", "DeclarationError", "Envelope",
    "Event", "Expr", "Fast", "Fatal", "Field", "Guard", "HeadwaterError", "LightGBM", "Limits", "Linear", "Model", "Notice",
    "Planner", "Publish", "Retryable", "River", "SklearnPartialFit", "Softmax", "category", "count", "day", "distinct", "every",
    "every_labels", "ewma", "ewma_variance", "hour", "label", "last", "manual", "max", "mean", "metric", "min", "on_drift",
    "once", "since", "sum", "variance", "weekday", "when", "words", "zscore",
]  # fmt: skip

_HOMES = (
    "planning.declaring", "app", "core.errors", "core.event", "core.expressions", "evaluation.labels", "features.aggregates",
    "features.limits",
    "following.envelope", "learning.linear", "learning.classes", "learning.river", "learning.sklearn", "learning.lightgbm",
    "learning.fast_lane",
)  # fmt: skip


def __getattr__(name: str) -> object:
    if name in __all__:
        for home in _HOMES:
            module = import_module(f"headwater.{home}")
            if name in vars(module):
                return vars(module)[name]
    raise AttributeError(f"module 'headwater' has no attribute {name!r}")
