"""Four numbers and two categories with two million hashed weights: a model of 16.8 MB."""

import headwater as hw


class Ask(hw.Event, key="ask"):
    ask: hw.Field[str]
    x1: hw.Field[float]
    x2: hw.Field[float]
    x3: hw.Field[float]
    x4: hw.Field[float]
    shop: hw.Field[str]
    item: hw.Field[str]


class Outcome(hw.Event, key="ask"):
    ask: hw.Field[str]
    good: hw.Field[int]


fields: list[hw.AnyFeature] = [Ask.x1, Ask.x2, Ask.x3, Ask.x4, hw.category(Ask.shop), hw.category(Ask.shop, Ask.item)]
good = hw.Model(
    "good",
    on=Ask,
    features=fields,
    label=hw.label(Outcome.good > 0, join=Outcome.ask, on=Ask.ask, within="30d"),
    learner=hw.Linear(loss="log", bits=21),
)
app = hw.App("swap", models=[good])
