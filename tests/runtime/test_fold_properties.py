"""State is a function of the log: whatever the batches, the restarts and the rows of the system between the events.

Random small apps fold random logs. Run with `-s` to see how many cases reached the interesting branches.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headwater as hw
from headwater.app import App
from headwater.core.batch import Batch, concat
from headwater.log.protocol import Chunk
from headwater.runtime.checkpointing import Checkpointer, judged_rows, late_rows, restore
from headwater.runtime.fold import Effects, Fold
from headwater.store.checkpoint import Checkpoints
from headwater.testing.events import Seen, batch_of, control_mark, dead_letter, split
from headwater.testing.in_blocks import InBlocks

MINUTE, HOUR = 60_000, 3_600_000


class Ask(hw.Event, key="id_", lateness="30m"):
    id_: hw.Field[str]
    shop: hw.Field[str | None]
    n: hw.Field[int]
    x: hw.Field[float | None]


class Told(hw.Event, key="id_", lateness="1h"):
    id_: hw.Field[str]
    shop: hw.Field[str | None]
    y: hw.Field[float | None]


class Side(hw.Event, key="shop"):
    shop: hw.Field[str]
    x: hw.Field[float | None]


FEATURES: list[Any] = [
    Ask.x,
    hw.category(Ask.shop),
    hw.category(Ask.shop, Ask.n),
    hw.hour(Ask),
    hw.count(Ask, by=Ask.shop, window="1h", slide="20m"),
    hw.mean(Told.y, by=Told.shop, half_life="1h"),
    hw.mean(Told.y, half_life="3h", prior=0.5, prior_weight=1.0),
    hw.sum(Side.x, by=Side.shop, at=Ask.id_),
    hw.last(Side.x, n=3),
    hw.since(Told, by=Told.shop),
    hw.zscore(Ask.x, half_life="1h"),
    hw.variance(Told.y, by=Told.shop, window="2h"),
    hw.max(Side.x, window="1h"),
    hw.ewma(Told.y, beta=0.8, by=Told.shop),
    hw.count(Told, by=Told.shop, where=Told.y > 0),
    hw.mean(Told.y, by=Told.shop, session="20m"),
    hw.count(Ask, by=Ask.shop, session="10m"),
    hw.max(Side.x, session="45m"),
    hw.distinct(Told.id_, by=Told.shop, window="2h", slide="30m", precision=4),
    hw.distinct(Ask.shop, precision=5),
]
RULES = [hw.every("3h", utc_offset="+1h"), hw.every("1d"), hw.every_labels(2), hw.once(after=4)]


SHAPES = [("20m", None), ("1h", None), ("1h", "20m"), ("2h", "40m"), ("3h", "1h")]
PICK: Any = {hw.sum: Told.y, hw.mean: Side.x, hw.min: Told.y, hw.max: Told.y, hw.variance: Ask.x}


@st.composite
def windows(draw):
    """A window of any size, panes, value and key: the oldest of the lagging region's events fall out of the small ones."""
    reading = draw(st.sampled_from(list(PICK)))
    window, slide = draw(st.sampled_from(SHAPES))
    value = PICK[reading]
    keyed = draw(st.booleans()) and value is not Side.x
    return reading(value, by=(Ask.shop if value is Ask.x else Told.shop) if keyed else None, window=window, slide=slide)


@st.composite
def learners(draw, loss):
    """Any options that a learner takes, or one that learns by blocks."""
    if loss == "classes":
        sgd = draw(st.booleans())
        return hw.Softmax(
            classes=draw(st.sampled_from([2, 5])), bits=4, eta0=draw(st.sampled_from([0.01, 0.3])),
            optimizer="sgd" if sgd else "adagrad", forget=1.0 if sgd else draw(st.sampled_from([1.0, 0.9])),
            intercept_eta=draw(st.sampled_from([None, 0.1])), l1=draw(st.sampled_from([0.0, 0.01])),
        )  # fmt: skip
    if loss != "quantile" and draw(st.integers(0, 3)) == 0:
        return InBlocks(block=draw(st.sampled_from([1, 3, 10])), bits=4, loss=loss)
    optimizer = draw(st.sampled_from(["adagrad", "sgd", "ftrl"]))
    return hw.Linear(
        loss=loss,
        bits=4,
        eta0=draw(st.sampled_from([0.01, 0.3])),
        optimizer=optimizer,
        tau=0.8 if loss == "quantile" else 0.5,
        forget=draw(st.sampled_from([1.0, 0.9])) if optimizer == "adagrad" else 1.0,
        alpha=draw(st.sampled_from([0.0, 0.1])) if optimizer != "ftrl" else 0.0,
        power=draw(st.sampled_from([0.5, 1.0])),
        intercept_eta=draw(st.sampled_from([None, 0.0, 0.1])),
        l1=draw(st.sampled_from([0.0, 0.0, 0.01])),
        l2=draw(st.sampled_from([0.0, 0.0, 0.01])),
        clip_gradient=draw(st.sampled_from([0.5, 1e12])),
        clip_z=draw(st.sampled_from([2.0, 8.0, float("inf")])),
        standardize=draw(st.booleans()),
    )


ACTIONS = ["impute", "clip", "drop", "abstain", "quarantine"]


@st.composite
def guards(draw):
    """None, or one that learns so quickly that a few events are enough for bursts."""
    if draw(st.booleans()):
        return None
    action = draw(st.sampled_from(ACTIONS))
    otherwise = hw.Limits(settle=draw(st.integers(1, 6)), stuck=draw(st.sampled_from([None, 3])), step=1.6, action=action)
    together = draw(st.sampled_from(["impute", "abstain", "quarantine"]))
    return hw.Guard({}, otherwise, together=together, warm_up=draw(st.integers(1, 5)), quiet=draw(st.integers(1, 4)))


@st.composite
def models(draw, name):
    itself, loss = draw(st.booleans()), draw(st.sampled_from(["log", "squared", "quantile", "classes"]))
    value: Any = Ask.x if itself else Told.y
    if loss == "classes":
        value = draw(st.sampled_from([Ask.shop, Ask.n])) if itself else Told.shop
    label = hw.label(
        value > 0 if loss == "log" else value, join=Ask.id_ if itself else Told.id_, on=Ask.id_,
        within=draw(st.sampled_from(["20m", "2h", "8h"])),
        missing=hw.UNKNOWN if loss == "classes" else draw(st.sampled_from([hw.UNKNOWN, hw.NEGATIVE])),
    )  # fmt: skip
    plain = draw(st.lists(st.sampled_from(FEATURES), min_size=1, max_size=5, unique_by=id))
    windowed = {f.name: f for f in draw(st.lists(windows(), min_size=1, max_size=3))}
    features = [*plain, *windowed.values()]
    twins = draw(st.dictionaries(st.sampled_from(["t", "u"]), st.sampled_from(RULES), max_size=2))
    by = draw(st.sampled_from([None, Ask.shop if itself else Told.shop]))
    learner = draw(learners(loss))
    return hw.Model(
        name,
        on=Ask,
        features=features,
        label=label,
        learner=learner,
        versions=draw(st.sampled_from(RULES)),
        twins=twins,
        guard=None if isinstance(learner, hw.Softmax) else draw(guards()),
        baseline_by=by,
    )


@st.composite
def apps(draw):
    made = [draw(models(name)) for name in draw(st.sampled_from([["a"], ["a", "b"]]))]
    return hw.App("random", models=made, streams=[Side, Told])


VALUES = [None, -1.0, 0.0, 0.5, 0.5, 2.0, 2.0, 1e308]
SYSTEM = [control_mark("idle", source="eu"), control_mark("idle", source="us"), control_mark("cost", core_s=1.5), dead_letter()]


def random_event(rng, ids):
    kind = rng.random()
    id_, shop = f"q{rng.integers(ids)}", [None, "", "a", "b", "c"][rng.integers(5)]
    value = VALUES[rng.integers(len(VALUES))]
    if kind < 0.4:
        return Ask(id_=id_, shop=shop, n=int(rng.integers(3)), x=value)
    if kind < 0.8:
        return Told(id_=id_, shop=shop, y=value)
    return Side(shop=id_, x=value) if kind < 0.95 else SYSTEM[rng.integers(len(SYSTEM))]


@st.composite
def logs(draw):
    """Up to 150 rows; some come late, and one region lags behind the other. Small searches find too little: a seed is drawn."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n, ids = draw(st.integers(0, 150)), draw(st.sampled_from([2, 8, 40]))
    gap, lag = draw(st.sampled_from([MINUTE, 10 * MINUTE, 40 * MINUTE])), draw(st.sampled_from([0, HOUR, 6 * HOUR]))
    now, rows = 20 * HOUR, []
    for _ in range(n):
        now += int(rng.integers(gap))
        source = ["us", "eu"][rng.integers(2)]
        back = int(rng.integers(100 * MINUTE)) if rng.random() < 0.2 else 0
        rows.append(Seen(now - back - (lag if source == "eu" else 0), random_event(rng, ids), source))
    return rows


def folded(app: App, parts: list[Batch]) -> tuple[Fold, list[Effects]]:
    fold, effects = Fold(app), []
    for part in parts:
        effects.append(fold.step(Chunk(fold.seq, part)))
        note_cut(fold, last=part is parts[-1])
    return fold, effects


def judged(effects: list[Effects]) -> dict[str, bytes]:
    out: dict[str, bytes] = {}
    for effect in effects:
        for model, parts in effect.judged.items():
            out[model] = out.get(model, b"") + b"".join(p.tobytes() for p in parts)
    return out


def rows_judged(effects: list[Effects], model: str, experts: int) -> Any:
    return np.concatenate([np.zeros((0, 5 + experts)), *(part for e in effects for part in e.judged.get(model, []))])


def due(effects: list[Effects]) -> list[Any]:
    return [
        (d.model, d.name, d.seq, d.time_ms, d.trigger, {k: v.tobytes() for k, v in d.arrays.items()})
        for e in effects
        for d in e.due
    ]


REACHED: Counter[str] = Counter()


def note_cut(fold: Fold, *, last: bool) -> None:
    """Count what was under way where one batch ended and the next one began."""
    if last:
        return
    REACHED["cuts"] += 1
    REACHED["cuts with questions pending"] += any(m.report()["questions"]["pending"] for m in fold.models.values())
    REACHED["cuts with memories kept"] += any(table.n for table in fold.engine.tables)


def note(fold: Fold, effects: list[Effects]) -> None:
    """Count the branches that this case reached."""
    questions = [model.report()["questions"] for model in fold.models.values()]
    REACHED["cases"] += 1
    for name in ("labelled", "corrected", "repeated", "unmatched_labels", "expired", "superseded", "null_labels", "refused"):
        REACHED[name] += any(q[name] for q in questions)
    REACHED["beyond classes"] += any(q.get("beyond_classes") for q in questions)
    REACHED["late"] += any(e.late for e in effects)
    REACHED["calendar"] += any(d.trigger.endswith("ms") for e in effects for d in e.due)
    REACHED["count of labels"] += any(d.trigger.endswith("labels") for e in effects for d in e.due)
    REACHED["beyond the ring"] += int(fold.engine.overflow[0] > 0)
    REACHED["too large"] += int(fold.engine.overflow[1] > 0)


@pytest.fixture(scope="module", autouse=True)
def report():
    yield
    print("\nreached:", ", ".join(f"{name} {n}" for name, n in REACHED.items()))
    if REACHED["cases"] >= 60:
        seldom = {"beyond the ring", "beyond classes"}  # each has a test of its own that always reaches it
        assert not [name for name, n in REACHED.items() if n == 0 and name not in seldom], REACHED


@settings(max_examples=60)
@given(apps(), logs(), st.lists(st.integers(1, 40), min_size=1, max_size=4))
def test_any_split_gives_the_same_state_scores_and_versions(app, rows, sizes):
    batch = batch_of(rows)
    whole, effects = folded(app, [batch] if rows else [])
    note(whole, effects)
    for each in ((1,), (7,), (256,), tuple(sizes)):
        fold, others = folded(app, list(split(batch, each)))
        assert fold.state_hash() == whole.state_hash()
        assert judged(others) == judged(effects)
        assert due(others) == due(effects)
        assert [s for e in others for s in e.late] == [s for e in effects for s in e.late]
        assert repr(fold.metrics()) == repr(whole.metrics())


@settings(max_examples=60)
@given(
    apps(),
    logs(),
    st.lists(st.tuples(st.integers(1, 25), st.sampled_from(["step", "save", "restart"])), min_size=1, max_size=6),
)
def test_any_restart_from_a_checkpoint_gives_the_same_state(app, rows, script):
    """Steps, saves and restarts in any order; what was not saved is folded again."""
    batch = batch_of(rows)
    whole, effects = folded(app, [batch] if rows else [])
    with tempfile.TemporaryDirectory() as folder:
        store = Checkpoints(Path(folder))
        fold, at = Fold(app), 0
        saver, turn = Checkpointer(fold, store), 0
        restarts = 0
        while fold.seq < batch.n:
            size, then = script[turn % len(script)]
            turn += 1
            stop = min(fold.seq + size, batch.n)
            saver.gather(fold.step(Chunk(fold.seq, batch.slice(fold.seq, stop))))
            if then == "save" or (then == "restart" and restarts < 5):
                at = fold.seq if then == "save" else at
                if then == "save":
                    saver.save()
                else:
                    restarts += 1
                    store.close()
                    store = Checkpoints(Path(folder))
                    fold = restore(app, store)
                    assert fold.seq == at
                    saver = Checkpointer(fold, store)
        saver.save()
        saver.wait()
        again = restore(app, store)
        assert again.state_hash() == fold.state_hash() == whole.state_hash()
        for name, model in app.models.items():
            assert judged_rows(store, name, len(model.experts)).tobytes() == judged(effects).get(name, b"")
        assert late_rows(store) == [s for e in effects for s in e.late]
        store.close()


SYSTEM_ROWS = [Seen(0, dead_letter(), "door"), Seen(0, control_mark("cost"), "us")]


@settings(max_examples=40)
@given(apps(), logs())
def test_rows_of_the_system_move_places_and_nothing_else(app, rows):
    """Costs and dead letters between the events: the same scores, labels and weights."""
    events = [r for r in rows if r.event.schema.stream[0] != "_"]
    mixed = [row for i, event in enumerate(events) for row in ([*SYSTEM_ROWS[: i % 3], event])]
    alone, effects = folded(app, [batch_of(events)] if events else [])
    among, others = folded(app, list(split(batch_of(mixed), (11,))))
    for name, model in app.models.items():
        no_places = np.r_[1:4, 5 : 5 + len(model.experts)]
        mine, theirs = (rows_judged(each, name, len(model.experts))[:, no_places] for each in (effects, others))
        assert mine.tobytes() == theirs.tobytes()
        both = (fold.models[name].learner.arrays() for fold in (alone, among))
        assert len({b"".join(np.ascontiguousarray(a).tobytes() for a in arrays.values()) for arrays in both}) == 1
    assert alone.watermarks.sources == among.watermarks.sources
    assert alone.counts() == among.counts()


@settings(max_examples=30)
@given(apps(), logs(), st.randoms())
def test_how_a_batch_numbers_its_streams_and_sources_does_not_matter(app, rows, random):
    """A file lists sources in another order than a live log, and some that have no row."""
    if not rows:
        return
    batch = batch_of(rows)
    names, sources = [*batch.names, "unknown"], [*batch.sources, "silent"]
    random.shuffle(names)
    random.shuffle(sources)
    renumbered = Batch(
        batch.n,
        tuple(names),
        np.array([names.index(batch.names[s]) for s in batch.stream], np.uint8),
        batch.time,
        batch.arrival,
        tuple(sources),
        np.array([sources.index(batch.sources[s]) for s in batch.source], np.uint16),
        batch.ids,
        batch.frames,
    )
    assert folded(app, [renumbered])[0].state_hash() == folded(app, [batch])[0].state_hash()
    parts = list(split(batch, (5,)))
    assert folded(app, [concat(parts)])[0].state_hash() == folded(app, [batch])[0].state_hash()


def test_an_entity_without_an_update_survives_a_checkpoint(tmp_path):
    """A null value makes no update, but the entity has a row: it was once missing from the saved blocks."""
    label = hw.label(Told.y > 0, join=Told.id_, on=Ask.id_, within="1h")
    app = hw.App("a", models=[hw.Model("m", on=Ask, features=[hw.mean(Told.y, by=Told.shop)], label=label)])
    rows = [Seen(i, Told(id_="q", shop=f"s{i}", y=None)) for i in range(100)]
    fold, _ = folded(app, [batch_of(rows)])
    store = Checkpoints(tmp_path)
    Checkpointer(fold, store).save()
    store.wait()
    assert restore(app, store).state_hash() == fold.state_hash()
    store.close()


def test_a_source_that_appears_while_a_checkpoint_is_written_is_not_in_it():
    """The save is written in the background: it once took the newest list of sources with the older arrays."""

    class Slow:
        def save(self, save):
            self.held = save

        def wait(self):
            pass

    app = hw.App(
        "a", models=[hw.Model("m", on=Ask, features=[Ask.x], label=hw.label(Told.y, join=Told.id_, on=Ask.id_, within="1h"))]
    )
    fold, store = Fold(app), Slow()
    fold.step(Chunk(0, batch_of([Seen(0, Told(id_="q", shop="a", y=None), "us")])))
    Checkpointer(fold, store).save()
    fold.step(Chunk(1, batch_of([Seen(0, Told(id_="q", shop="a", y=None), "eu")])))
    assert store.held.meta.extra["sources"] == ["us"]
    assert store.held.meta.arrays["watermarks.marks"].shape == (2, 1)


def test_a_fold_that_was_never_asked_survives_a_checkpoint(tmp_path):
    """The ring of questions has not been touched yet: its blocks were once missing."""
    app = hw.App(
        "a", models=[hw.Model("m", on=Ask, features=[Ask.x], label=hw.label(Told.y, join=Told.id_, on=Ask.id_, within="1h"))]
    )
    store = Checkpoints(tmp_path)
    fold, _ = folded(app, [batch_of([Seen(0, Told(id_="q", shop="a", y=1.0))])])
    Checkpointer(fold, store).save()
    store.wait()
    assert restore(app, store).state_hash() == fold.state_hash()
    store.close()


def test_an_app_that_sees_only_unknown_streams_stays_as_it_was():
    app = hw.App(
        "a", models=[hw.Model("m", on=Ask, features=[Ask.x], label=hw.label(Told.y, join=Told.id_, on=Ask.id_, within="1h"))]
    )
    fold, effects = folded(app, [batch_of([Seen(5, dead_letter()), Seen(0, Side(shop="a"))])])
    assert fold.seq == 2
    assert fold.watermarks.sources == []
    assert effects[0].judged == {}
    assert fold.metrics()["m"]["questions"]["scored"] == 0
