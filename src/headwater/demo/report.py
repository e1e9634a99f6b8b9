"""The demo's figures, from the judged rows that the learner saved: exact, over the last 80 % of the flights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from headwater.core.batch import Floats, Ints
from headwater.demo.screen import EXPERTS
from headwater.evaluation.metrics import exact_auc
from headwater.evaluation.prequential import FIRST, J_KIND, J_LABEL, J_SCORES, J_SEQ, J_TIME

_DAY_MS = 86_400_000
_SKIP = 0.2


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Labels and scores of the flights that count, in the order in which they were asked.

    Attributes:
        time: Scheduled departure, ms.
        label: 1 late or never, 0 on time.
        scores: By expert.
    """

    time: Floats
    label: Floats
    scores: dict[str, Floats]


def collect(rows: dict[str, Floats], experts: dict[str, list[str]]) -> Judged:
    """Put the judged rows of both models together; leave out the first 20 % of the flights."""
    kept = {}
    for model, judged in rows.items():
        first = judged[judged[:, J_KIND] == FIRST]
        ordered = first[np.argsort(first[:, J_SEQ], kind="stable")]
        kept[model] = ordered[int(len(ordered) * _SKIP) :]
    late = kept["late"]
    scores = {n: kept[m][:, J_SCORES + experts[m].index(e)] for n, (m, e, _) in EXPERTS.items()}
    return Judged(late[:, J_TIME], late[:, J_LABEL], scores)


def log_loss(label: Floats, score: Floats) -> float:
    p = np.clip(score, 1e-15, 1 - 1e-15)
    return float(-(label * np.log(p) + (1 - label) * np.log(1 - p)).mean())


def calibration_error(label: Floats, score: Floats, bins: int = 20) -> float:
    """Mean distance between score and share of late flights, over equal-width bins (ECE; Naeini et al. 2015)."""
    which = np.minimum((score * bins).astype(np.int64), bins - 1)
    n = np.bincount(which, minlength=bins)
    gap = np.abs(np.bincount(which, score, bins) - np.bincount(which, label, bins))
    return float(gap.sum() / max(1, n.sum()))


def days_of(judged: Judged, offset_ms: int = 5 * 3_600_000) -> Ints:
    """Each flight's day in New York (winter time), numbered from 0 in order."""
    day = np.unique(((judged.time - offset_ms) // _DAY_MS).astype(np.int64), return_inverse=True)[1]
    return np.asarray(day, np.int64).reshape(-1)


def auc_margin(
    judged: Judged, a: str = "live", b: str = "nightly", *, draws: int = 2_000, seed: int = 1
) -> tuple[float, float, float]:
    """(margin, low, high): AUC of a minus AUC of b, with a paired 95 % interval from resampled days.

    Days, not flights, are drawn with replacement, and the same days for both: flights of one day share their weather.
    Within the draws, AUC is computed on 4,096 quantile bins of the scores (error below 1e-4).
    """
    days = days_of(judged)
    drawn = np.random.default_rng(seed).multinomial(days.max() + 1, np.full(days.max() + 1, 1 / (days.max() + 1)), draws)
    gaps = _resampled(judged, days, drawn, a) - _resampled(judged, days, drawn, b)
    low, high = np.percentile(gaps, (2.5, 97.5))
    return exact_auc(judged.label, judged.scores[a]) - exact_auc(judged.label, judged.scores[b]), float(low), float(high)


def _resampled(judged: Judged, days: Ints, drawn: Ints, expert: str, bins: int = 4096) -> Floats:
    """AUC under each draw; float64[draws]."""
    score = judged.scores[expert]
    edges = np.unique(np.quantile(score, np.linspace(0, 1, bins)[1:-1]))
    which = np.searchsorted(edges, score)
    counts = np.zeros((2, days.max() + 1, edges.size + 1))
    np.add.at(counts, ((judged.label >= 0.5).astype(np.int64), days, which), 1.0)  # noqa: PLR2004
    negatives, positives = drawn.astype(np.float64) @ counts[0], drawn.astype(np.float64) @ counts[1]
    below = np.cumsum(negatives, axis=1) - negatives
    wins = (positives * (below + 0.5 * negatives)).sum(axis=1)
    return np.asarray(wins / (positives.sum(axis=1) * negatives.sum(axis=1)))


def daily(
    judged: Judged, value: Callable[[Floats, Floats], float], a: str = "live", b: str = "nightly"
) -> tuple[float, float, float]:
    """(mean, low, high) over days of value(a) - value(b) within each day: a paired 95 % interval."""
    days = days_of(judged)
    gaps = []
    for rows in np.split(np.argsort(days, kind="stable"), np.cumsum(np.bincount(days))[:-1]):
        gap = value(judged.label[rows], judged.scores[a][rows]) - value(judged.label[rows], judged.scores[b][rows])
        if np.isfinite(gap):
            gaps.append(gap)
    mean, error = float(np.mean(gaps)), float(np.std(gaps, ddof=1) / np.sqrt(len(gaps)))
    return mean, mean - 1.96 * error, mean + 1.96 * error


def margins(judged: Judged) -> dict[str, Any]:
    """Live against nightly: over all flights, and within days, where the two can differ in sign (decision 0011)."""
    margin, low, high = auc_margin(judged)
    loss, within = daily(judged, log_loss), daily(judged, exact_auc)
    return {
        "nightly_margin": margin, "nightly_margin_ci": [low, high],
        "nightly_log_loss_margin": loss[0], "nightly_log_loss_margin_ci": list(loss[1:]),
        "nightly_margin_within_days": within[0], "nightly_margin_within_days_ci": list(within[1:]),
    }  # fmt: skip


def figures(judged: Judged) -> dict[str, dict[str, float]]:
    """{metric: {expert: value}}."""
    y, scores = judged.label, judged.scores
    said = {n: (s >= 0.5) == (y >= 0.5) for n, s in scores.items()}  # noqa: PLR2004
    return {
        "auc": {n: exact_auc(y, s) for n, s in scores.items()},
        "log_loss": {n: log_loss(y, s) for n, s in scores.items()},
        "accuracy": {n: float(right.mean()) for n, right in said.items()},
        "calibration_error": {n: calibration_error(y, s) for n, s in scores.items()},
    }


def print_report(console: Console, report: dict[str, Any]) -> None:
    """The end of the demo, for a person."""
    table = Table(
        title="The last 80 % of the flights, each judged before it was learnt", title_justify="left", box=None, pad_edge=False
    )
    table.add_column("")
    for name in ("AUC", "log loss", "accuracy", "calibration error", "core-seconds", ""):
        table.add_column(name, justify="right" if name else "left")
    for name, (_, _, what) in EXPERTS.items():
        values = [f"{report[m][name]:.4f}" for m in ("auc", "log_loss", "accuracy", "calibration_error")]
        cost = report["core_seconds_by_expert"].get(name)
        style = "bold green" if name == "live" else None
        table.add_row(name.replace("_", " "), *values, "-" if cost is None else f"{cost:.2f}", what, style=style)
    console.print(table)
    for name, text in _sentences(report).items():
        console.print(f"{name:<11}{text}", highlight=False)


def _sentences(report: dict[str, Any]) -> dict[str, str]:
    (low, high), (less, more) = report["nightly_margin_ci"], report["nightly_log_loss_margin_ci"]
    counts = " + ".join(f"{report[k]:,} {k}" for k in ("applied", "duplicate", "late", "quarantined"))
    fresh, checked, asked = report["freshness_ms"], report["checked"], report["questions"]
    rate = report["events"] / report["seconds"]
    again = "judges every flight the same" if checked["folded_again"] else "does NOT judge every flight the same"
    margin, loss = report["nightly_margin"], report["nightly_log_loss_margin"]
    return {
        "margin": f"live against nightly: AUC {margin:+.4f} (95 % interval over days {low:+.4f} .. {high:+.4f}), "
        f"log loss {loss:+.4f} a day ({less:+.4f} .. {more:+.4f})",
        "events": f"{report['in']:,} in = {counts}",
        "speed": f"{rate:,.0f} events/s over HTTP for {report['seconds']:.1f} s, "
        f"{report['core_seconds']:.1f} core-seconds in gateway and learner",
        "freshness": f"p50 {fresh['p50']:.0f} ms, p99 {fresh['p99']:.0f} ms from arrival to an answer that had learnt it",
        "versions": f"{report['versions']} registered",
        "questions": f"{asked['asked']:,} asked meanwhile, {asked['failed']} failed",
        "checked": f"{checked['same']:,} of {checked['n']:,} answers equal the fold's score bit for bit; "
        f"the log folded again {again}",
    }
