"""From a declared app to what serving has to know of it."""

from __future__ import annotations

from headwater.app import App, Model
from headwater.features.guard import Verdicts
from headwater.learning.protocol import n_memos
from headwater.serving.answerer import Served
from headwater.serving.looked import Looking


def served(app: App) -> dict[str, Served]:
    """What serving has to know of each model."""
    out = {}
    for number, (name, model) in enumerate(app.models.items()):
        names = (*(f.name for f in model.numbers), *(c.name for c in model.categories))
        out[name] = Served(
            number, model.schema, model.label.on, app.columns[name].numbers, tuple(model.categories), names, model.learner,
            model.n_scores, app.columns[name].baseline, _guarded(app, model), n_memos(model.learner),
        )  # fmt: skip
    return out


def _guarded(app: App, model: Model) -> Looking | None:
    if model.guard is None:
        return None
    verdicts = Verdicts(model.guard, [f.name for f in model.numbers], [c.name for c in model.categories], model.name)
    outcome = model.label.value if model.labels_itself else None
    return Looking(verdicts, app.columns[model.name].baseline, outcome, model.learner.loss)
