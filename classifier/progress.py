"""Progress bars on standard error: how far, how fast, how long still."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text


class Advance(Protocol):
    """Called with how many more are done, and a word on how it stands."""

    def __call__(self, count: int, note: str = "") -> None: ...


class _RateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f} images/s", style="dim")


@contextmanager
def progress_bar(
    description: str, *, total: int, shown: bool = True
) -> Iterator[Advance]:
    """A bar over `total` images; silent where standard error is no terminal."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _RateColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", style="dim"),
    )
    progress = Progress(
        *columns,
        console=console,
        transient=True,
        # What is printed meanwhile goes above the bar, if it is on a terminal as well.
        redirect_stdout=sys.stdout.isatty(),
        disable=not (shown and console.is_terminal),
    )
    task = progress.add_task(description, total=total, note="")

    def advance(count: int, note: str = "") -> None:
        progress.update(task, advance=count, note=note)

    # A terminal that is closed ends its bar, and not the work.
    with suppress(OSError):
        progress.start()
    try:
        yield advance
    finally:
        with suppress(OSError):
            progress.stop()
