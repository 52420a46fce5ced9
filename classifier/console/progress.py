"""The progress bar of the programs, on standard error."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Protocol


class Advance(Protocol):
    """Adds `count` finished images to a bar and shows `note` behind it."""

    def __call__(self, count: int, note: str = "") -> None: ...


@contextmanager
def progress_bar(
    description: str, *, total: int, done: int = 0, shown: bool = True
) -> Iterator[Advance]:
    """A bar over `total` images; nothing is shown if standard error is no terminal.

    `done` images were finished before.
    """
    # Here: the service shows no bar, and its installation has no rich.
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

    class RateColumn(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:,.0f} images/s", style="dim")

    console = Console(stderr=True)
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", style="dim"),
        console=console,
        transient=True,
        # Printed lines go above the bar, unless they go to a file or a pipe.
        redirect_stdout=sys.stdout.isatty(),
        disable=not (shown and console.is_terminal),
    )
    task = progress.add_task(description, total=total, completed=done, note="")

    def advance(count: int, note: str = "") -> None:
        progress.update(task, advance=count, note=note)

    # If the terminal is closed, the bar ends and the work goes on.
    with suppress(OSError):
        progress.start()
    try:
        yield advance
    finally:
        with suppress(OSError):
            progress.stop()
