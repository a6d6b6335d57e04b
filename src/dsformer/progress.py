"""How long work tells the outside where it is; silent unless somebody listens."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from dsformer.processes import leading


class Progress(Protocol):
    """Called with the stage's name, how many of its steps are done, and how many there are."""

    def __call__(self, stage: str, done: int, total: int) -> None: ...


def silent(stage: str, done: int, total: int) -> None:
    """Report nothing."""


@contextmanager
def rich_progress(quiet: bool = False) -> Iterator[Progress]:
    """Bars in the terminal, one a stage (on standard error, so that ``--json`` stays clean)."""
    if quiet or not leading():
        yield silent
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description:<12}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    bars, tasks = Bars(*columns, console=Console(stderr=True)), dict[str, TaskID]()

    def report(stage: str, done: int, total: int) -> None:
        # Not before there is a stage: an error before that is one line.
        bars.start()
        if stage not in tasks:
            tasks[stage] = bars.add_task(stage, total=total)
        bars.update(tasks[stage], completed=done, total=total)

    try:
        yield report
    finally:
        if tasks:
            bars.stop()
