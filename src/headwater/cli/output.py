"""How commands print: tables for people, JSON for programs, errors as one block."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from headwater.core.errors import HeadwaterError

PIPE_WIDTH = 200  # columns where the output is no terminal: nothing is cut for a reader that has no width


def console(*, stderr: bool = False) -> Console:
    """Where to print. What data says is never taken as markup."""
    terminal = (sys.stderr if stderr else sys.stdout).isatty() or "COLUMNS" in os.environ
    return Console(stderr=stderr, width=None if terminal else PIPE_WIDTH, markup=False, highlight=False, emoji=False)


def plain(value: object) -> str:
    r"""A cell's text; control characters (from events, say) are spelt out, so that they cannot drive the terminal.

    >>> plain("a\x1b[2J"), plain(None), plain(0.1234567), plain(12)
    ('a\\x1b[2J', '-', '0.123457', '12')
    """
    if value is None:
        return "-"
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def utc(ms: int) -> str:
    """Event time as a person reads it.

    >>> utc(1_357_000_000_000)
    '2013-01-01 00:26:40 UTC'
    """
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def table(headers: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "", right: Sequence[str] = ()) -> None:
    """Print a table; `right` names the columns that hold numbers."""
    made = Table(title=title or None, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="bold")
    for header in headers:
        made.add_column(header, justify="right" if header in right else "left", overflow="fold")
    for row in rows:
        made.add_row(*(plain(cell) for cell in row))
    console().print(made)


def print_json(value: Any) -> None:
    """Print one JSON document; paths and the like as text."""
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def write_json(path: Path, value: Any) -> None:
    """Write one JSON document to a file."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n", encoding="utf-8")


def show_error(error: Exception) -> None:
    """Print an error to stderr as one block: what, where, expected, got, next step."""
    if isinstance(error, HeadwaterError):
        parts = {"where": error.where, "expected": error.expected, "got": error.got, "next": error.next_step}
        lines = [error.what, *(f"{label + ':':<10}{text}" for label, text in parts.items() if text)]
    else:
        lines = [f"This is a fault in Headwater: {type(error).__name__}: {error}"]
        lines += [f"{'next:':<10}Run the command again with HEADWATER_DEBUG=1 and report what it prints."]
    block = Panel.fit(plain("\n".join(lines)), title="error", title_align="left", border_style="red")
    console(stderr=True).print(block)
