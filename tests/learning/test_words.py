"""Words of texts as features, against Python's own strings; served as they were learnt."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import headwater as hw
from headwater.core.batch import Text, frame
from headwater.core.words import NO_WORD, hash_words
from headwater.learning.vectors import NO_WEIGHT, category_matrix
from headwater.testing import LocalRun

CJK = "[\u3000-\u9fff\uac00-\ud7ff]"


def words_of(text):
    """The different words in order: ASCII in lower case, other characters as they are, CJK one by one."""
    runs = re.findall(f"{CJK}|(?:[A-Za-z0-9]|(?!{CJK})[^\x00-\x7f])+", text)
    return list(dict.fromkeys("".join(c.lower() if c.isascii() else c for c in run) for run in runs))


texts = st.text(st.sampled_from("aAbZ09 .,-\nüß\u6c34\u6d3b\uac00é"), max_size=40)


@given(st.lists(texts, min_size=1, max_size=20))
def test_equal_words_have_equal_hashes_and_only_they(given_texts):
    hashed = hash_words(Text.of(given_texts), 50)
    seen = {}
    for text, row in zip(given_texts, hashed.tolist(), strict=True):
        words = words_of(text)
        assert sum(h != NO_WORD for h in row) == len(words)
        for word, h in zip(words, row, strict=False):
            assert seen.setdefault(word, h) == h
    assert len(set(seen.values())) == len(seen)


class Ticket(hw.Event, key="ticket"):
    ticket: hw.Field[str]
    body: hw.Field[str | None]


class Closed(hw.Event, key="ticket"):
    ticket: hw.Field[str]
    escalated: hw.Field[bool]


def app(n=4):
    label = hw.label(Closed.escalated, join=Closed.ticket, on=Ticket.ticket, within="1d")
    return hw.App("tickets", models=[hw.Model("escalates", on=Ticket, features=[hw.words(Ticket.body, n=n)], label=label)])


def test_a_word_has_one_weight_wherever_it_stands_and_none_where_it_is_missing():
    run = LocalRun(app())
    rows = [Ticket(ticket=str(i), body=text) for i, text in enumerate(("fire now", "now Fire!", None, "a b c d e f"))]
    run.send(*rows, time="2025-01-01T00:00:00Z")
    model = run.fold.models["escalates"]
    slots = model.pending.rows[:4, -4:].astype(int)
    assert sorted(slots[0, :2]) == sorted(slots[1, :2])
    assert (slots[:2, 2:] == NO_WEIGHT).all()
    assert (slots[2] == NO_WEIGHT).all()
    assert (slots[3] != NO_WEIGHT).all()


def test_what_is_learnt_is_served_by_key_and_by_fields():
    run = LocalRun(app())
    bodies = ["server on fire", "thank you", "fire in the hall", "hello and thank you"] * 30
    for i, body in enumerate(bodies):
        run.send(Ticket(ticket=str(i), body=body), time=1_735_689_600_000 + i)
        run.send(Closed(ticket=str(i), escalated="fire" in body), time=1_735_689_600_000 + i)
    run.send(Ticket(ticket="new", body="FIRE, again"), time=1_735_689_700_000)
    by_key = run.predict("escalates", ticket="new")["predictions"][0]
    by_fields = run.predict("escalates", ticket="other", body="FIRE, again", explain=True)["predictions"][0]
    assert by_key["score"] == by_fields["score"] > 0.6
    shares = by_fields["shares"]
    assert 1 / (1 + np.exp(-sum(shares.values()))) == pytest.approx(by_fields["score"])
    assert shares["words(ticket.body)[0]"] > 0.5
    assert shares["words(ticket.body)[3]"] == 0


def test_places_of_words_do_not_disturb_other_categories():
    categories = [*hw.words(Ticket.body, n=2), hw.category(Ticket.ticket)]
    rows = frame(Ticket.schema, [Ticket(ticket="a", body="x"), Ticket(ticket="b", body="x y")])
    slots = category_matrix(categories, rows, np.zeros(2, np.int64), 1, 16)
    assert slots[0, 0] == slots[1, 0]
    assert slots[0, 1] == NO_WEIGHT != slots[1, 1]
    assert slots[0, 2] != slots[1, 2]


@pytest.mark.parametrize(
    ("bad", "n"), [(Ticket.ticket == "a", 4), (Closed.escalated, 4), (Ticket.body, 0), (Ticket.body, 1000)]
)
def test_what_cannot_be_words_is_refused(bad, n):
    with pytest.raises(hw.DeclarationError, match=r"hw\.words"):
        hw.words(bad, n=n)
