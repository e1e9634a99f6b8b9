"""`headwater export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headwater.cli.options import ConfigFile, Json, State


def export(
    version: Annotated[str, typer.Argument(help="line@seq, a line for its newest version, or the start of a name or hash.")],
    to: Annotated[str, typer.Option("--to", metavar="FORMAT", help="npz (numpy arrays), onnx, or mlflow (a folder).")],
    out: Annotated[Path, typer.Option("--out", metavar="PATH", help="The file to write; for mlflow, the folder.")],
    force: Annotated[bool, typer.Option("--force", help="Replace what is there, once the new one is checked.")] = False,
    n: Annotated[int, typer.Option("--check", min=1, metavar="N", help="How many vectors to score with both models.")] = 1000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the vectors that are scored.")] = 0,
    config: ConfigFile = None,
    state: State = None,
    as_json: Json = False,
) -> None:
    """Write a version for other programs, then check it: both models score the same vectors, within 1e-9 of each other.

    Vectors are random, with missing and extreme numbers and unseen categories among them. If scores differ, the export is
    deleted. docs/exchange.md says what the inputs are. Formats onnx and mlflow need the extras of their names.

    For example:

        headwater export late@84211 --to npz --out late.npz

        headwater export late --to onnx --out late.onnx --state .headwater --json
    """
    from dataclasses import asdict

    from headwater.cli.options import open_catalog
    from headwater.cli.output import console, print_json
    from headwater.registry.exporting import export as write
    from headwater.registry.portable_classes import portable_of

    with open_catalog(config, state) as catalog:
        found = catalog.get(version)
        model = portable_of(found, catalog.artifacts.get(found.sha256))
    done = write(model, to, out, force=force, n=n, seed=seed)
    if as_json:
        print_json(asdict(done))
        return
    console().print(f"{done.version} is in {done.path} as {done.format} ({done.bytes:,} bytes).", soft_wrap=True)
    console().print(f"{done.n:,} vectors give the same scores; greatest difference {done.difference:.2g}.")
