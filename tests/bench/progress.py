"""A progress bar on stderr; silent where nobody looks."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn


class Bar:
    """One bar: `step` says what was done."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def step(self, said: str, by: int = 1) -> None:
        """`by` more are done; `said` is what comes or came last."""
        self._progress.update(self._task, advance=by, said=said)

    def say(self, said: str) -> None:
        """Say what goes on."""
        self._progress.update(self._task, said=said)


@contextmanager
def progress(title: str, total: int) -> Iterator[Bar]:
    """A bar of `total` steps for as long as the block runs."""
    columns = (
        TextColumn(title),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[said]}"),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as shown:
        yield Bar(shown, shown.add_task(title, total=total, said=""))
