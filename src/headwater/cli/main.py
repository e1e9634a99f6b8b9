"""The program `headwater`: its list of commands, and how errors are shown."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

import typer

COMMANDS = {
    "init": "init:init",
    "demo": "demo:demo",
    "assess": "assess:assess",
    "run": "run:run",
    "plan": "plan:plan",
    "apply": "apply:apply",
    "status": "status:status",
    "send": "send:send",
    "tail": "tail:tail",
    "predict": "predict:predict",
    "replay": "replay:replay",
    "frontier": "frontier:frontier",
    "ledger": "ledger:ledger",
    "refit": "refit:refit",
    "profile": "profile:profile",
    "streams export": "streams:export",
    "streams describe": "streams:describe",
    "config explain": "config:explain",
    "versions": "versions:versions",
    "show": "show:show",
    "diff": "diff:diff",
    "export": "export:export",
    "rebuild": "rebuild:rebuild",
    "verify": "verify:verify",
    "late list": "late:list_",
    "quarantine list": "quarantine:list_",
    "quarantine show": "quarantine:show",
    "quarantine replay": "quarantine:replay",
    "parked list": "parked:list_",
    "parked retry": "parked:retry",
    "keys add": "keys:add",
    "keys list": "keys:list_",
    "keys revoke": "keys:revoke",
    "resume": "resume:resume",
    "doctor": "doctor:doctor",
    "faults": "faults:faults",
}
"""What is typed -> `module:function` in this folder, in the order of --help. The first of two words is a group."""

GROUPS = {
    "config": "Settings: where each one comes from and what it is for.",
    "streams": "An app's streams for other programs: their events as files, their schemas.",
    "late": "Events that came after their stream's watermark had passed: stored, not learnt.",
    "parked": "Events that a handler or a webhook would not take: see them, have them tried again.",
    "quarantine": "Events that were refused at the door: see them, repair them, try them again.",
    "keys": "Keys that callers show to a gateway: who may send, ask, operate.",
}


def build() -> typer.Typer:
    """The whole program, from the list above."""
    root = typer.Typer(
        name="headwater",
        help="Keeps machine-learning models fresh from event streams.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    root.callback()(_root)
    groups = {"": root}
    for name, text in GROUPS.items():
        groups[name] = typer.Typer(help=text, no_args_is_help=True)
    for typed, place in COMMANDS.items():
        group, _, name = typed.rpartition(" ")
        module, _, function = place.partition(":")
        groups[group].command(name)(getattr(import_module(f"headwater.cli.{module}"), function))
    for name in GROUPS:
        root.add_typer(groups[name], name=name)
    return root


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"headwater {version('headwater')}")
        raise typer.Exit


def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version and stop."),
) -> None:
    """Keeps machine-learning models fresh from event streams."""


def run(arguments: Sequence[str] | None = None) -> None:
    """Run one command and leave the process with its exit code: 0 done, 1 failed, 2 wrongly used."""
    try:
        build()(arguments, prog_name="headwater")
    except Exception as error:
        if os.environ.get("HEADWATER_DEBUG") == "1":
            raise
        from headwater.cli.output import show_error

        show_error(error)
        sys.exit(1)
