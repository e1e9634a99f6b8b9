"""Twenty features of a user, from the user's own actions: what is kept online for a million of them."""

import headwater as hw


class Action(hw.Event, key="user"):
    user: hw.Field[str]
    good: hw.Field[int]
    x1: hw.Field[float]
    x2: hw.Field[float]
    x3: hw.Field[float]
    x4: hw.Field[float]
    x5: hw.Field[float]


class Look(hw.Event, key="look"):
    look: hw.Field[str]
    user: hw.Field[str]


numbers = (Action.x1, Action.x2, Action.x3, Action.x4, Action.x5)
liking = hw.Model(
    "liking",
    on=Look,
    features=[hw.mean(x, by=Action.user, half_life=h) for x in numbers for h in ("1h", "6h", "1d", "7d")],
    label=hw.label(Action.good > 0, join=Action.user, on=Look.user, within="1h"),
    learner=hw.Linear(loss="log", bits=4),
)
app = hw.App("entities", models=[liking])
