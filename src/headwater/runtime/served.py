"""From a declared app to what serving has to know of it."""

from __future__ import annotations

from headwater.app import App
from headwater.learning.protocol import n_memos
from headwater.serving.answerer import Served


def served(app: App) -> dict[str, Served]:
    """What serving has to know of each model."""
    out = {}
    for number, (name, model) in enumerate(app.models.items()):
        names = (*(f.name for f in model.numbers), *(c.name for c in model.categories))
        out[name] = Served(
            number, model.schema, model.label.on, app.columns[name].numbers, tuple(model.categories), names, model.learner,
            model.n_scores, app.columns[name].baseline, n_memos(model.learner),
        )  # fmt: skip
    return out
