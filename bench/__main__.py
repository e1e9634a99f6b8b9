"""The command behind `make bench`."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from bench.environments import prepare_all
from bench.machine import is_busy, processor
from bench.report import facts, page, table
from bench.result import Result
from bench.row import Row, Size
from bench.rows import ROWS, SLUGS
from bench.sides import ROOT, WORK

PAGE = ROOT / "docs" / "benchmarks.md"


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("make bench", description="Run Headwater and its peers by turns and compare them.")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the rows as JSON")
    parser.add_argument("--only", metavar="SLUG", action="append", choices=SLUGS, help="run only this row; may be repeated")
    parser.add_argument("--list", action="store_true", help="list the rows and end")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, less work")
    parser.add_argument(
        "--page", metavar="FILE", type=Path, help="write the page here, also with --only (else docs/benchmarks.md)"
    )
    return parser.parse_args(given)


def _list() -> None:
    for row in ROWS:
        for spec in row.specs:
            sign = ">=" if spec.better == "higher" else "<="
            peer = row.peer or "own figure"
            print(f"{spec.slug:16} {row.path}; {peer}; {sign} {spec.reach:g} {spec.unit}, moonshot {spec.moonshot:g}")


def _run(rows: Sequence[Row], size: Size, only: Sequence[str] | None, console: Console) -> list[Result]:
    results: list[Result] = []
    with console.status("compiling Headwater's kernels, once"):
        subprocess.run([sys.executable, "-m", "headwater.runtime.warm"], check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - ourselves
    with console.status("making the peers' environments"):
        prepare_all(name for row in rows for name in row.environments)
    for row in rows:
        began = time.monotonic()
        with console.status(f"{', '.join(row.slugs)}: {row.path}"):
            found = [r for r in row.measure(row, size) if not only or r.spec.slug in only]
        results += found
        for result in found:
            console.print(
                f"{result.spec.slug} ({time.monotonic() - began:.0f} s): {facts(result)}", style="dim", highlight=False
            )
    return results


def main(given: Sequence[str] | None = None) -> int:
    chosen = _arguments(given)
    if chosen.list:
        _list()
        return 0
    console = Console(width=180 if not sys.stdout.isatty() else None)
    rows = [row for row in ROWS if not chosen.only or set(row.slugs) & set(chosen.only)]
    busy, cpu = is_busy(), processor()
    WORK.mkdir(exist_ok=True)
    results = _run(rows, Size(chosen.quick), chosen.only, console)
    table(console, [result.row(cpu) for result in results])
    if chosen.json is not None:
        chosen.json.write_text(json.dumps([result.row(cpu) for result in results], indent=2) + "\n")
    target = chosen.page or (None if chosen.only else PAGE)
    if target is not None:
        target.write_text(page(rows, results, cpu, busy=busy, quick=chosen.quick))
    return 0 if all(result.is_right for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
