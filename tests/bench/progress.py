"""A progress bar on stderr; where nobody looks, a line for every tenth that is done."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

_TENTHS = 10


class Bar:
    """One bar: `step` says what was done."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task
        self._told = 0

    def step(self, said: str, by: int = 1) -> None:
        """`by` more are done; `said` is what comes or came last."""
        self._progress.update(self._task, advance=by, said=said)
        task = self._progress.tasks[self._task]
        tenth = int(task.completed * _TENTHS / max(task.total or 1, 1))
        if self._progress.disable and tenth > self._told:
            self._told = tenth
            self._progress.console.print(f"{task.description}: {task.completed:.0f} of {task.total:.0f}: {said}")

    def say(self, said: str) -> None:
        """Say what goes on."""
        self.step(said, 0)


@contextmanager
def progress(title: str, total: int) -> Iterator[Bar]:
    """A bar of `total` steps for as long as the block runs."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[said]}"),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as shown:
        yield Bar(shown, shown.add_task(title, total=total, said=""))
