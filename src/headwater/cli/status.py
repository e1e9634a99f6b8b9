"""`headwater status`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from headwater.cli.options import ConfigFile, Json, State, Url

if TYPE_CHECKING:
    from headwater.runtime.standing import Standing

_NAMES = {"log_loss": "log loss", "pinball": "pinball loss", "mae": "mean absolute error"}
_CONSUMER = ("name", "stream", "next", "lag", "delivered", "retries", "parked", "missed")
_ERROR_CHARS = 80
_FRESH_EVENTS = 1000  # at most so many behind is called fresh
_RECENT_LABELS = 10_000


def status(config: ConfigFile = None, state: State = None, url: Url = None, as_json: Json = False) -> None:
    """Say how fresh each model is and how good, what runs, and what became of every event.

    Exit code 1 if nothing runs or the gateway does not answer. For example:

        headwater status

        headwater status --url http://127.0.0.1:8080 --json
    """
    from headwater.cli.options import configured
    from headwater.cli.output import print_json
    from headwater.runtime.config import key_to_show
    from headwater.runtime.standing import standing_at, standing_in

    settings = None if url else configured(config, state).settings
    key = key_to_show(settings)
    found = standing_in(settings, key) if settings else standing_at(url or "", key)
    if as_json:
        print_json({**asdict(found), "running": found.live is not None})
    else:
        _show(found)
    if found.live is None:
        raise typer.Exit(1)


def _show(found: Standing) -> None:
    from headwater.cli.output import console, table

    screen = console()
    for line in _head(found):
        screen.print(line)
    if found.run:
        rows: list[tuple[object, ...]] = [(role, p.pid, p.restarts) for role, p in found.run.processes.items()]
        table(("process", "pid", "restarts"), rows, right=("pid", "restarts"))
    if found.sources:
        names = list(dict.fromkeys(name for counts in found.sources.values() for name in counts))
        rows = [(source, *(f"{c[n]:,}" if n in c else None for n in names)) for source, c in found.sources.items()]
        table(("source", *names), rows, right=names)
    if found.consumers:
        headers = ("consumer", "stream", "next", "lag", "delivered", "retries", "parked", "missed", "last error")
        rows = [(*(c.get(name) for name in _CONSUMER), c["error"][:_ERROR_CHARS] or None) for c in found.consumers]
        table(headers, rows, right=headers[2:-1])
    if refused := sum(c.get("quarantined", 0) for c in found.sources.values()):
        screen.print(f"{refused:,} events are in quarantine; `headwater quarantine list` shows why")


def _head(found: Standing) -> Iterator[str]:
    """What a person wants to know first."""
    if found.live is None:
        if found.url is not None:
            yield f"The gateway at {found.url} does not answer: {found.problem}"
        else:
            yield f"{found.run.app} is starting." if found.run else "Nothing runs here."
        if found.end is not None:
            yield f"The log ends at {found.end:,}; `headwater run APP` goes on from there."
        return
    yield f"{found.run.app} answers at {found.url}." if found.run else f"A gateway answers at {found.url}."
    behind = found.gateway.get("age_events")
    for model in found.gateway.get("models", {}):
        yield sentence(model, behind, found.learner.get("metrics", {}).get(model, {}))
    if "versions" in found.learner:
        yield f"{found.learner['versions']:,} versions are registered."
    if found.problem:
        yield f"Consumers cannot be shown: {found.problem}"


def sentence(model: str, behind: int | None, report: Mapping[str, Any]) -> str:
    """One model in plain words: is it fresh, how good is it now, is that better than repeating the last outcome?

    >>> now = {"live": {"n": 10000, "log_loss": 0.51}, "no_change": {"n": 10000, "log_loss": 0.62}}
    >>> sentence("late", 0, {"recent": now})
    'late has learnt every event; over its last 10,000 labels its log loss is 0.5100, better than no change with 0.6200.'
    >>> sentence("late", None, {})
    'late has published nothing yet; it has had no label yet.'
    >>> sentence("late", 0, {"labels_by_score": {"warning": "no labels come for scores of 0.8-1.0"}})
    'late has learnt every event; it has had no label yet. Warning: no labels come for scores of 0.8-1.0.'
    >>> sentence("queue", 0, {"questions": {"beyond_classes": 12}})
    'queue has learnt every event; it has had no label yet. 12 labels were of more classes than declared: they are (other).'
    """
    if behind is None:
        fresh = "has published nothing yet"
    elif behind == 0:
        fresh = "has learnt every event"
    else:
        fresh = f"is {'fresh' if behind <= _FRESH_EVENTS else 'behind'}: {behind:,} events are still to be learnt"
    said = _quality(report.get("recent", {}))
    beyond = report.get("questions", {}).get("beyond_classes")
    more = f" {beyond:,} labels were of more classes than declared: they are (other)." if beyond else ""
    blind = report.get("labels_by_score", {}).get("warning", "")
    return f"{model} {fresh}; {said}.{more}{f' Warning: {blind}.' if blind else ''}"


def _quality(recent: Mapping[str, Mapping[str, float | None]]) -> str:
    live, plain = recent.get("live", {}), recent.get("no_change", {})
    metric = next((name for name in _NAMES if live.get(name) is not None), None)
    if metric is None:
        return "it has had no label yet"
    mine, theirs = float(live[metric] or 0), plain.get(metric)
    said = f"over its last {int(live.get('n') or 0):,} labels its {_NAMES[metric]} is {mine:.4f}"
    if theirs is None:
        return said
    return f"{said}, {'better' if mine < theirs else 'worse' if mine > theirs else 'the same'} than no change with {theirs:.4f}"
