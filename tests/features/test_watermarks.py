"""What is late changes nothing and is counted; what is not late is never lost."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import headwater as hw
from headwater.features.watermarks import IDLE, UNSEEN, Watermarks
from headwater.testing.events import Seen, batch_of

from .conftest import memories, run

MINUTE = 60_000


class Hit(hw.Event, key="who", lateness="10m"):
    who: hw.Field[str]
    x: hw.Field[float]


class Ask(hw.Event, key="who", lateness="10m"):
    who: hw.Field[str]


ALL = [
    hw.count(Hit, by=Hit.who), hw.sum(Hit.x, by=Hit.who), hw.mean(Hit.x, by=Hit.who, half_life="5m"),
    hw.variance(Hit.x, by=Hit.who, half_life="5m"), hw.count(Hit, by=Hit.who, window="30m", slide="5m"),
    hw.sum(Hit.x, by=Hit.who, window="30m", slide="5m"), hw.min(Hit.x, by=Hit.who, window="30m", slide="5m"),
    hw.variance(Hit.x, by=Hit.who, window="30m"), hw.since(Hit, by=Hit.who), *hw.last(Hit.x, by=Hit.who, n=4),
]  # fmt: skip


def hit(time, x=1.0, source="a", who="w"):
    return Seen(time, Hit(who=who, x=x), source)


def ask(time, who="w", source="a"):
    return Seen(time, Ask(who=who), source)


class Oracle:
    """The definition, source by source and event by event."""

    def __init__(self, lateness):
        self.lateness, self.newest, self.idle, self.watermark = lateness, {}, set(), -(2**62)

    def is_late(self, source, time):
        if time < self.watermark:
            return True
        self.newest[source] = time if source in self.idle else max(time, self.newest.get(source, time))
        self.idle.discard(source)
        self.advance()
        return False

    def advance(self):
        speaking = [t for s, t in self.newest.items() if s not in self.idle]
        if speaking:
            self.watermark = max(self.watermark, min(speaking) - self.lateness)

    def mark_idle(self, source):
        if source in self.newest:
            self.idle.add(source)
            self.advance()


events = st.lists(
    st.one_of(st.tuples(st.sampled_from("abc"), st.integers(0, 60 * MINUTE)), st.sampled_from("abc")), max_size=60
)


@settings(max_examples=200)
@given(events)
def test_watermarks_are_what_their_definition_says(script):
    marks, oracle = Watermarks([Hit.schema]), Oracle(10 * MINUTE)
    late = 0
    for step in script:
        if isinstance(step, str):
            marks.idle(step)
            oracle.mark_idle(step)
        else:
            skip = np.zeros(1, np.uint8)
            marks.mark(np.zeros(1, np.uint8), marks.codes((step[0],)), np.array([step[1]]), skip)
            expected = oracle.is_late(*step)
            late += expected
            assert skip[0] == (2 if expected else 0)
        assert marks.watermark[0] == oracle.watermark
    assert (marks.late.sum(), marks.late.sum() + marks.applied.sum()) == (late, sum(isinstance(s, tuple) for s in script))


def test_late_events_change_nothing_and_are_counted():
    on_time = [hit(0), hit(20 * MINUTE), hit(10 * MINUTE, 5.0), ask(21 * MINUTE)]
    late = [hit(10 * MINUTE - 1, 99.0), hit(0, 99.0, who="never seen")]
    with_late = run(ALL, Ask, [Hit, Ask], batch_of([*on_time[:3], *late, on_time[3]]))
    without = run(ALL, Ask, [Hit, Ask], batch_of(on_time))
    assert with_late.skip.tolist() == [0, 0, 0, 2, 2, 0]
    assert with_late.vectors[-1].tobytes() == without.vectors[-1].tobytes()
    assert memories(with_late).keys() == memories(without).keys()
    assert (with_late.watermarks.late.sum(), with_late.watermarks.applied.sum()) == (2, 4)
    assert np.isnan(with_late.vectors[3:5]).all()


def test_a_late_question_is_not_scored():
    done = run(ALL, Ask, [Hit, Ask], batch_of([ask(60 * MINUTE), ask(0)]))
    assert done.skip.tolist() == [0, 2]


def test_a_slow_source_holds_the_watermark_until_it_is_called_idle():
    marks = Watermarks([Hit.schema])
    stream, skip = np.zeros(3, np.uint8), np.zeros(3, np.uint8)
    marks.mark(stream, marks.codes(("slow", "fast", "fast")), np.array([0, 0, 100 * MINUTE]), skip)
    assert marks.watermark[0] == -10 * MINUTE
    marks.idle("slow")
    assert marks.watermark[0] == 90 * MINUTE  # at once, not with the next event
    marks.idle("fast")
    assert marks.watermark[0] == 90 * MINUTE  # nobody speaks: it stays
    marks.idle("unknown")
    one = np.zeros(1, np.uint8)
    marks.mark(one, marks.codes(("slow",)), np.array([89 * MINUTE]), one.copy())
    assert marks.late.sum() == 1
    marks.mark(one, marks.codes(("slow",)), np.array([95 * MINUTE]), one.copy())
    assert marks.marks.tolist() == [[95 * MINUTE, IDLE]]
    assert marks.watermark[0] == 90 * MINUTE  # monotone


def test_streams_have_watermarks_of_their_own():
    done = run(ALL, Ask, [Hit, Ask], batch_of([hit(100 * MINUTE), ask(0), hit(0)]))
    assert done.skip.tolist() == [0, 0, 2]
    assert done.watermarks.high_mark() == 100 * MINUTE


def regions(seed, n=600):
    """(time, hit) of three regions, in order of event time."""
    rng = np.random.default_rng(seed)
    times = np.sort(rng.integers(0, 3 * 60 * MINUTE, n))
    return [
        hit(int(t), float(rng.integers(-40, 40)) / 8, str(rng.choice(["eu", "us", "asia"])), str(rng.choice(list("uvw"))))
        for t in times
    ]


def test_regions_delayed_within_the_lateness_lose_nothing():
    """0 s, 30 s and 10 min of delay: counts exact, sums to 1e-9, of every entity in the end."""
    delay = {"eu": 0, "us": 30_000, "asia": 10 * MINUTE}
    for seed in range(5):
        rows = regions(seed)
        delayed = sorted(rows, key=lambda row: row.time_ms + delay[row.source])
        assert delayed != rows
        end = [ask(3 * 60 * MINUTE, who, "eu") for who in "uvw"]
        straight, late = (run(ALL, Ask, [Hit, Ask], batch_of([*order, *end]), (50,)) for order in (rows, delayed))
        assert not late.skip.any()
        assert late.engine.overflow.tolist() == [0, 0]
        np.testing.assert_allclose(late.vectors[-3:], straight.vectors[-3:], rtol=1e-9, atol=1e-9)
        for counts in (0, 4):
            assert late.vectors[-3:, counts].tolist() == straight.vectors[-3:, counts].tolist()
        assert late.vectors[-3:, 8:].tobytes() == straight.vectors[-3:, 8:].tobytes()  # since, last: same bits


def test_a_delay_beyond_the_lateness_of_one_source_is_late_and_counted():
    rows = [row._replace(source="one") for row in regions(1)]
    delayed = sorted(rows, key=lambda row: row.time_ms + (12 * MINUTE if row.event.who == "u" else 0))
    done = run(ALL, Ask, [Hit, Ask], batch_of(delayed))
    assert 0 < done.watermarks.late.sum() == (done.skip == 2).sum()
    assert done.watermarks.applied.sum() + done.watermarks.late.sum() == len(rows)


def test_an_out_of_order_event_updates_its_pane():
    count, total = hw.count(Hit, by=Hit.who, window="10m", slide="5m"), hw.sum(Hit.x, by=Hit.who, window="10m", slide="5m")
    rows = [
        hit(6 * MINUTE, 1.0),
        hit(16 * MINUTE, 2.0),
        ask(12 * MINUTE),
        hit(7 * MINUTE, 4.0),
        ask(12 * MINUTE),
        ask(16 * MINUTE),
    ]
    done = run([count, total], Ask, [Hit, Ask], batch_of(rows))
    assert done.vectors[[2, 4, 5]].tolist() == [[1.0, 1.0], [2.0, 5.0], [1.0, 2.0]]


def test_an_event_older_than_the_ring_is_counted_never_silent():
    """A source that lags behind another by more than the lateness is not late, but its window's panes may be gone."""
    rows = [hit(0, source="slow"), hit(0), hit(120 * MINUTE), hit(0, source="slow"), ask(120 * MINUTE)]
    done = run([hw.count(Hit, by=Hit.who, window="5m")], Ask, [Hit, Ask], batch_of(rows))
    assert not done.skip.any()
    assert done.engine.overflow.tolist() == [1, 0]
    assert done.vectors[-1].tolist() == [1.0]


def test_a_value_beyond_any_measurement_is_kept_out_of_memories_and_counted():
    rows = [hit(0, 1.0), hit(1, 1e300), hit(2, float("inf")), ask(3)]
    done = run(ALL, Ask, [Hit, Ask], batch_of(rows))
    assert np.isfinite(done.vectors[3, :9]).all()
    assert done.engine.overflow[1] == 2 * len({f.keeper for f in ALL if f.value is not None})


def test_windows_before_and_just_after_1970():
    low = hw.min(Hit.x, by=Hit.who, window="1h", slide="10m")
    done = run([low], Ask, [Hit, Ask], batch_of([hit(-MINUTE, 3.0), hit(0, 5.0), ask(0), ask(5 * MINUTE)]))
    assert done.vectors[2:].tolist() == [[5.0], [5.0]]
    assert done.engine.overflow.tolist() == [1, 0]


def test_windows_of_a_lagging_question_are_still_there():
    """The scored stream may lag by its own lateness, longer than the counted stream's."""

    class Slow(hw.Event, key="who", lateness="2h"):
        who: hw.Field[str]

    rows = [hit(t * MINUTE) for t in range(0, 120, 5)]
    rows += [Seen(120 * MINUTE, Slow(who="w"), "a"), Seen(MINUTE, Slow(who="w"), "a")]
    done = run([hw.count(Hit, by=Hit.who, window="10m", slide="5m")], Slow, [Hit, Slow], batch_of(rows))
    assert done.vectors[-1].tolist() == [1.0]


def test_many_sources_are_numbered_in_order_of_their_first_row():
    marks = Watermarks([Hit.schema])
    names = tuple(f"device-{i}" for i in range(20_000))
    source = np.arange(19_999, -1, -1).astype(np.uint16)
    skip = np.zeros(source.size, np.uint8)
    skip[0] = 1
    codes = marks.codes_of_rows(names, source, skip)
    assert marks.sources[:2] == ["device-19998", "device-19997"]
    assert len(marks.sources) == 19_999
    marks.mark(np.zeros(source.size, np.uint8), codes, np.arange(source.size), skip)
    assert (marks.watermark[0], marks.high[0]) == (1 - 10 * MINUTE, 19_999)


def test_restore_gives_the_same_marks():
    marks = Watermarks([Hit.schema, Ask.schema])
    marks.mark(np.array([0, 1], np.uint8), marks.codes(("a", "b")), np.array([5, 7]), np.zeros(2, np.uint8))
    again = Watermarks([Hit.schema, Ask.schema])
    again.restore(marks.sources, marks.arrays())
    assert {k: v.tolist() for k, v in again.arrays().items()} == {k: v.tolist() for k, v in marks.arrays().items()}
    assert again.codes(("b", "c", "a")).tolist() == [1, 2, 0]
    assert marks.marks[1].tolist() == [UNSEEN, 7]


def test_an_update_of_a_window_that_had_closed_is_a_revision():
    """A window closes when the stream's newest event passes its end; until the watermark passes too, it can be revised."""
    rows = [hit(1 * MINUTE), hit(4 * MINUTE), hit(3 * MINUTE), hit(6 * MINUTE), hit(2 * MINUTE), hit(5 * MINUTE)]
    for sizes in ([1] * 6, [6], [4, 2]):
        done = run([hw.count(Hit, by=Hit.who, window="5m")], Ask, [Hit, Ask], batch_of([*rows, ask(4 * MINUTE)]), [*sizes, 1])
        assert done.engine.n_revisions == 1  # only the one of minute 2: the others met an open window
        assert done.vectors[-1].tolist() == [4.0]
