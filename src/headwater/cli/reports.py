"""Tables that several commands print."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import astuple, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from headwater.cli.output import console, table
from headwater.planning.ledger import Job

_BINARY = ("auc", "log_loss", "accuracy", "kappa_temporal", "brier", "mean_score", "mean_label")
_QUANTILE = ("pinball", "coverage", "pinball_ratio_to_no_change", "mean_score", "mean_label")
_CLASSES = ("log_loss", "accuracy", "kappa_temporal", "mean_recall", "n_classes")
_SHOWN = 12  # classes of a model
_NUMBER = ("mae", "rmse", "mae_ratio_to_no_change", "mean_score", "mean_label")


def metrics_tables(metrics: Mapping[str, Any]) -> None:
    """A table for each model: every expert, overall; beside it the last 10,000 labels."""
    for model, report in metrics.items():
        overall = report["overall"]
        if not overall:
            console().print(f"{model}: no label yet; {report['questions']['scored']:,} questions asked.")
            continue
        first = next(iter(overall.values()))
        names = _measures(first)
        rows = []
        for expert, values in overall.items():
            recent = report["recent"].get(expert, {})
            rows.append([expert, *(f"{values[n]:.4f}" for n in names), f"{recent.get(names[0], float('nan')):.4f}"])
        n = int(first["n"])
        title = f"{model}: judged on {n:,} labels, each before it was learnt"
        table(("", *names, f"recent {names[0]}"), rows, title=title, right=(*names, f"recent {names[0]}"))
        if "classes" in report:
            _classes_table(report["classes"])
        unhappy = {k: v for k, v in report["questions"].items() if v and k not in ("scored", "labelled")}
        if unhappy:
            console().print("  " + ", ".join(f"{v:,} {k.replace('_', ' ')}" for k, v in unhappy.items()))
        if blind := report.get("labels_by_score", {}).get("warning"):
            console().print(f"  Warning: {blind}.")


def _measures(values: Mapping[str, float]) -> tuple[str, ...]:
    """The columns of a table, by what was measured."""
    marks = {"auc": _BINARY, "mean_recall": _CLASSES, "pinball": _QUANTILE}
    return next((names for mark, names in marks.items() if mark in values), _NUMBER)


def _classes_table(classes: list[Mapping[str, Any]]) -> None:
    """The classes with most labels: how often each had to be said, was said, and was said rightly."""
    most = sorted(classes, key=lambda one: -one["labels"])
    rows = [(one["label"], *(f"{one[name]:,}" for name in ("labels", "said", "right"))) for one in most[:_SHOWN]]
    more = f" (the {_SHOWN} with most labels of {len(classes)})" if len(classes) > _SHOWN else ""
    table(("class", "labels", "said", "right"), rows, title=f"class by class, live{more}", right=("labels", "said", "right"))


def ledger_line(ledger: Mapping[str, Any]) -> str:
    """What refits cost and gained, in one line."""
    return (
        f"{ledger['updates']} refits ({ledger['served']} served), {ledger['core_seconds']:.3g} core-seconds with the fast "
        f"layer by the cost model, {ledger['gained_loss']:.4g} of loss avoided"
    )


def print_facts(facts: Mapping[str, object]) -> None:
    """Label and value, a line each."""
    for name, value in facts.items():
        console().print(f"{name}: {value}")


def print_profile(report: Mapping[str, Any]) -> None:
    """Processor time by stage, each with a bar of its share."""
    events, each = report["events"], report["us_per_event"]
    console().print(
        f"{report['app']}: {events:,} events, {each:.2f} us each ({report['events_per_cpu_s']:,.0f} a processor second)"
    )
    rows = [
        (stage, f"{spent['us_per_event']:.3f}", f"{100 * spent['share']:.1f} %", "\u2588" * round(40 * spent["share"]))
        for stage, spent in report["stages"].items()
    ]
    table(("stage", "us per event", "share", ""), rows, right=("us per event", "share"))
    console().print(f"Published {report['publishes']:,} times, saved {report['saves']:,} times; files in a temporary folder.")


def print_ledger(report: Mapping[str, Any]) -> None:
    """Costs and gains by model, day and method, and their sums."""
    rows = [
        (
            day["model"], datetime.fromtimestamp(86_400 * day["day"], UTC).strftime("%Y-%m-%d"), day["method"],
            f"{day['jobs']:,}", f"{day['rows']:,}", f"{day['estimate_core_s']:.3f}", f"{day['core_s']:.3f}",
            f"{day['gained_loss']:.4g}", day["served"], day["failed"],
        )
        for day in report["days"]
    ]  # fmt: skip
    numbers = ("jobs", "rows", "reserved core-s", "core-s", "gained loss", "served", "failed")
    table(("model", "day", "method", *numbers), rows, right=numbers)
    console().print(
        f"{report['updates']} updates, {report['served']} served; {report['core_seconds']:.3f} core-seconds in all, "
        f"{report['gained_loss']:.4g} of loss avoided."
    )


def write_jobs(path: Path, jobs: Sequence[Job]) -> None:
    """One job a line, as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(field.name for field in fields(Job))
        writer.writerows(astuple(job) for job in jobs)
