"""Progress of long work, as bars or lines; silent by default."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Protocol, runtime_checkable

from dsformer.utils.distributed import is_first_rank

# A stage is divided into PARTS, and a line is written when one is complete, at least OFTEN seconds after the last line.
# Without that, a line is written after RARELY seconds.
PARTS, OFTEN, RARELY = 20, 2.0, 30.0


@runtime_checkable
class Progress(Protocol):
    """Callback that is called during long work."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Report progress.

        Args:
            stage: name of the stage.
            done: steps done.
            total: steps in all.
        """
        ...


def silent(stage: str, done: int, total: int) -> None:
    """Report nothing. Arguments as of :meth:`Progress.__call__`."""


def tell_loss(progress: Progress, stage: str, loss: float) -> None:
    """Report the training loss of a stage to a listener that has a method ``loss``; other listeners ignore it.

    Args:
        progress: the listener.
        stage: name of the stage.
        loss: of the last steps.
    """
    listener: Callable[[str, float], None] | None = getattr(progress, "loss", None)
    if listener is not None:
        listener(stage, loss)


def duration(seconds: float) -> str:
    """Return seconds as text, in seconds, minutes or hours."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@contextmanager
def shown_progress(quiet: bool = False) -> Iterator[Progress]:
    """Yield a listener that shows bars in a terminal and lines elsewhere.

    It writes to standard error, so that the output of ``--json`` stays clean.

    Args:
        quiet: show nothing.
    """
    if quiet or not is_first_rank():
        yield silent
    elif sys.stderr.isatty():
        with _bars() as progress:
            yield progress
    else:
        yield Lines(lambda line: print(line, file=sys.stderr, flush=True))


@dataclass
class _Stage:
    """State of a stage: when it began, the steps done then, and when its last line was written."""

    began: float
    first: int
    written: float
    part: int = 0
    loss: float | None = None


class Lines:
    """Progress as lines of text: stage, steps, remaining time and, in training, the loss.

    Args:
        write: is called with each line.
        clock: returns seconds.
    """

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = monotonic):
        self.write, self.clock = write, clock
        self.stages: dict[str, _Stage] = {}

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Write a line unless one was written recently. Arguments as of :meth:`Progress.__call__`."""
        now, part = self.clock(), PARTS * done // max(1, total)
        known = self.stages.get(stage)
        if known is None or done < known.first:
            known = self.stages[stage] = _Stage(now, done, now, part)
        elif done < total or known.part == PARTS:
            waited = now - known.written
            if waited < (OFTEN if part > known.part else RARELY) or done == known.first:
                return
        known.written, known.part = now, part
        loss = "" if known.loss is None else f", loss {known.loss:.4g}"
        self.write(f"{stage}: {done} of {total}{loss}{self._left(known, now, done, total)}")

    def loss(self, stage: str, loss: float) -> None:
        """Set the loss that the stage's next line shows."""
        if stage in self.stages:
            self.stages[stage].loss = loss

    @staticmethod
    def _left(known: _Stage, now: float, done: int, total: int) -> str:
        if done >= total:
            return f" ({duration(now - known.began)})"
        if done <= known.first:
            return ""
        return f", about {duration((now - known.began) / (done - known.first) * (total - done))} left"


@contextmanager
def _bars() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description:<12}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    left = (TextColumn("left"), TimeRemainingColumn(), TextColumn("{task.fields[loss]}"))
    bars, tasks = Bars(*columns, *left, console=Console(stderr=True)), dict[str, TaskID]()

    class Shown:
        def __call__(self, stage: str, done: int, total: int) -> None:
            # Bars start with the first stage, so that an error before it prints only its one line.
            bars.start()
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total, loss="")
            bars.update(tasks[stage], completed=done, total=total)

        def loss(self, stage: str, loss: float) -> None:
            if stage in tasks:
                bars.update(tasks[stage], loss=f"loss {loss:.4g}")

    try:
        yield Shown()
    finally:
        if tasks:
            bars.stop()
