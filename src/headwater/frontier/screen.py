"""Quality against core-seconds, in letters."""

from __future__ import annotations

import math

from headwater.frontier.report import Report, Row

_WIDTH, _HEIGHT = 72, 14
_LEAST_SHARE = 1e-3


def chart(report: Report) -> str:
    """A plot of all policies: right is dearer (by factors), up is worse; the worst are drawn at the upper edge.

    A policy is a letter, explained below; a later one that falls on the same place is left to the table.
    """
    rows = sorted(report.policies, key=lambda row: row.quality)
    best = rows[0].quality
    worst = max(rows[int(0.75 * (len(rows) - 1))].quality, best * 1.01)
    grid = [[" "] * _WIDTH for _ in range(_HEIGHT)]
    for row, letter in zip(rows, "ABCDEFGHIJKLMNOPQRSTUVWXYZ", strict=False):
        x, y = _place(row, best, worst)
        grid[y][x] = letter if grid[y][x] == " " else grid[y][x]
    lines = [f"{_edge(i, best, worst):>9} |{''.join(line)}" for i, line in enumerate(grid)]
    axis = f"{'':>9} +{'-' * _WIDTH}\n{'':>11}{'0.1 %':<24}{'1 %':<24}{'10 %':<18}{'100 %':>6}  of always' core-seconds"
    names = "  ".join(f"{letter} {row.name}" for row, letter in zip(rows, "ABCDEFGHIJKLMNOPQRSTUVWXYZ", strict=False))
    return "\n".join([*lines, axis, names])


def told_of_regimes(report: Report) -> list[str]:
    """What the default planner's slow model has forgotten, and how long its loss took to come back after known changes."""
    lines = [
        f"rows {each['first_row']:,} to {each['last_row']:,}: the slow model lost {each['loss_then']:.4g} when they ended, "
        f"and loses {each['loss_now']:.4g} on them at the end."
        for each in report.anchors
    ]
    if report.recovery:
        known = sorted(each["n_labels"] for each in report.recovery if each["n_labels"] is not None)
        middle = f", {known[len(known) // 2]} labels in the middle and {known[-1]} at most" if known else ""
        lines.append(f"after {len(known)} of {len(report.recovery)} known changes the loss came back to its level{middle}.")
    return lines


def _place(row: Row, best: float, worst: float) -> tuple[int, int]:
    right = math.log10(max(row.share_of_always, _LEAST_SHARE) / _LEAST_SHARE) / -math.log10(_LEAST_SHARE)
    up = min((row.quality - best) / (worst - best), 1.0)
    return min(round(right * (_WIDTH - 1)), _WIDTH - 1), round((1.0 - up) * (_HEIGHT - 1))


def _edge(line: int, best: float, worst: float) -> str:
    if line == 0:
        return f"{worst:.4g}"
    return f"{best:.4g}" if line == _HEIGHT - 1 else ""
