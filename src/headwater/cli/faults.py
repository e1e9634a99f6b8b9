"""`headwater faults`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from headwater.faults.planting import Caught
    from headwater.faults.report import Report


def faults(
    n: Annotated[int, typer.Option("--n", min=0, help="How many schedules are run.")] = 1000,
    seed: Annotated[int, typer.Option(help="Decides what each of them does.")] = 0,
    only: Annotated[list[str] | None, typer.Option("--only", metavar="F7", help="Only this class; may be repeated.")] = None,
    schedule: Annotated[int | None, typer.Option(metavar="NUMBER", help="Run this one alone, and print its steps.")] = None,
    known_bad: Annotated[bool, typer.Option("--known-bad/--no-known-bad", help="Plant known faults in our code too.")] = True,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write what came of it as JSON.")] = None,
) -> None:
    """Break a small app in every known way, and check that nothing is lost, doubled or torn.

    Each schedule is a process and a folder of its own. Exit code 1 where a promise did not hold, a class of faults never
    fired, or a fault planted in our own code was not caught. For example:

        headwater faults --n 100

        headwater faults --seed 7 --schedule 412

        headwater faults --n 10000 --json faults.json
    """
    from headwater.cli.output import write_json
    from headwater.cli.progress import bar
    from headwater.faults.catalogue import chosen
    from headwater.faults.planting import try_all
    from headwater.faults.runner import run_faults

    wanted = chosen(only or [])
    if schedule is not None:
        _show_steps(wanted, seed, schedule)
    with bar(threads=False) as progress:
        numbers = None if schedule is None else [schedule]
        report = run_faults(n, seed=seed, faults=wanted, numbers=numbers, progress=progress)
        tried = try_all(seed, progress=progress) if known_bad and schedule is None and not only else []
    _show(report, tried, only or [])
    if json_file is not None:
        write_json(json_file, _as_json(report, tried))
    unproven = report.never_fired if schedule is None else []
    if report.violations or unproven or not all(one.caught for one in tried):
        raise typer.Exit(1)


def _show_steps(wanted: list[Any], seed: int, number: int) -> None:
    from headwater.cli.output import console
    from headwater.faults.runner import expanded

    _, found = expanded(wanted, seed, number)
    console().print(f"{found.fault} {found.title}: schedule {number} of seed {seed}")
    for step in found.steps:
        console().print("  " + ", ".join(f"{name}={value}" for name, value in step.items()))


def _command(report: Report, number: int, only: list[str]) -> str:
    """What runs one schedule again."""
    return f"headwater faults --seed {report.seed}{''.join(f' --only {name}' for name in only)} --schedule {number}"


def _show(report: Report, tried: list[Caught], only: list[str]) -> None:
    from headwater.cli.output import console, plain, table

    by_class = {name: sum(v.schedule.fault == name for v in report.violations) for name in report.schedules}
    rows = [(name, report.titles[name], report.schedules[name], report.fired[name], by_class[name]) for name in sorted(
        report.schedules, key=lambda name: int(name[1:]))]  # fmt: skip
    table(("class", "fault", "schedules", "fired", "violations"), rows, right=("schedules", "fired", "violations"))
    if tried:
        table(("known-bad variant", "caught by", "what was seen"), [(one.name, one.where, one.said[:90]) for one in tried])
    for found in report.violations:
        console().print(plain(f"\n{found.schedule.fault} violated: {found.said}"))
        for step in found.schedule.steps:
            console().print(plain("  " + ", ".join(f"{name}={value}" for name, value in step.items())))
        console().print("  again: " + _command(report, found.schedule.number, only))
    caught = f", {sum(one.caught for one in tried)} of {len(tried)} planted faults caught" if tried else ""
    console().print(
        f"{report.n} schedules of seed {report.seed}, {report.n_process} of real processes, in {report.seconds:.0f} s: "
        f"{len(report.violations)} violations{caught}"
    )


def _as_json(report: Report, tried: list[Caught]) -> dict[str, Any]:
    import msgspec

    return {
        "seed": report.seed, "schedules": report.n, "real_process_schedules": report.n_process,
        "violations": len(report.violations), "fired": report.fired, "schedules_by_class": report.schedules,
        "seconds": round(report.seconds, 1), "found": msgspec.to_builtins(report.violations),
        "known_bad": {
            "planted": len(tried), "caught": sum(one.caught for one in tried), "variants": msgspec.to_builtins(tried),
        },
    }  # fmt: skip
