"""A progress bar for long work, on stderr; nothing where stderr is no terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def bar(*, threads: bool = True) -> Iterator[Callable[[str, int, int], None]]:
    """Yields a function to be told (what, done, of).

    Args:
        threads: Whether the bar may move by itself, on a thread of its own; what forks must have none.
    """
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    from headwater.cli.output import console

    columns = (TextColumn("{task.description:>9}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(stderr=True), transient=True, auto_refresh=threads) as shown:
        tasks: dict[str, int] = {}

        def told(what: str, done: int, of: int) -> None:
            if what not in tasks:
                tasks[what] = shown.add_task(what, total=of)
            shown.update(tasks[what], completed=done, total=of)  # type: ignore[arg-type]
            if not threads:
                shown.refresh()

        yield told
