"""Twenty numbers that are known when the question is asked, and are kept with it until its answer is known."""

import headwater as hw


class Ask(hw.Event, key="ask"):
    ask: hw.Field[str]
    x1: hw.Field[float]
    x2: hw.Field[float]
    x3: hw.Field[float]
    x4: hw.Field[float]
    x5: hw.Field[float]
    x6: hw.Field[float]
    x7: hw.Field[float]
    x8: hw.Field[float]
    x9: hw.Field[float]
    x10: hw.Field[float]
    x11: hw.Field[float]
    x12: hw.Field[float]
    x13: hw.Field[float]
    x14: hw.Field[float]
    x15: hw.Field[float]
    x16: hw.Field[float]
    x17: hw.Field[float]
    x18: hw.Field[float]
    x19: hw.Field[float]
    x20: hw.Field[float]


class Outcome(hw.Event, key="ask"):
    ask: hw.Field[str]
    good: hw.Field[int]


fields: list[hw.AnyFeature] = [
    Ask.x1, Ask.x2, Ask.x3, Ask.x4, Ask.x5, Ask.x6, Ask.x7, Ask.x8, Ask.x9, Ask.x10,
    Ask.x11, Ask.x12, Ask.x13, Ask.x14, Ask.x15, Ask.x16, Ask.x17, Ask.x18, Ask.x19, Ask.x20,
]  # fmt: skip
good = hw.Model(
    "good",
    on=Ask,
    features=fields,
    label=hw.label(Outcome.good > 0, join=Outcome.ask, on=Ask.ask, within="30d"),
    learner=hw.Linear(loss="log", clip_z=float("inf"), bits=4),
)
app = hw.App("predict", models=[good])
