"""Run of a sweep: every cell in its own process, finished cells never again."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch

from dsformer.benchmarking.timing import Ratio
from dsformer.errors import InputError
from dsformer.models.source import require_model
from dsformer.sweep.cell import make_teacher, model_place, run_cell, teacher_place
from dsformer.sweep.grid import Cell, Grid
from dsformer.sweep.latency import measured
from dsformer.sweep.workers import in_processes
from dsformer.utils.atomic_io import Row, add_row, check_apart, read_rows, user_path, write_rows
from dsformer.utils.hardware import check_threads
from dsformer.utils.output_directory import lock
from dsformer.utils.progress import Progress, silent

RESULTS = "results.jsonl"


def sweep(
    grid: Grid, place: str | Path, workers: int = 1, seconds: float = 3.0, progress: Progress = silent
) -> list[Row]:
    """Compress, score and time every cell of a grid.

    Results are kept in ``place``: ``results.jsonl`` with a line a cell, ``models``, ``teachers``, and ``calibrations``
    with the measurements of every dense model (once, for all methods and ratios). A sweep that was stopped or killed
    continues from there; one with more methods, ratios or seeds adds to it.

    Args:
        grid: the cells.
        place: directory of the results.
        workers: cells at a time; each has an equal share of torch's threads.
        seconds: time spent on timing each model of the first seed, all in alternation once everything is compressed;
            0: no timing.
        progress: notified of every cell.

    Returns:
        The rows of the grid's cells. A cell whose method cannot do what is asked has ``refused`` and why.

    Raises:
        InputError: another sweep is at work in ``place``, the grid has nothing to do or a wrong recipe, a dense model
            could not be trained, or cells failed; all others are done and kept.
    """
    grid.check()
    check_threads(workers, "workers")
    if not 0 <= seconds < float("inf"):
        raise InputError(f"seconds: {seconds} is not a number of seconds")
    require_model(grid.model)
    place = user_path(place)
    if place.exists() and not place.is_dir():
        raise InputError(f"{place}: is a file")
    check_apart(place.resolve(), [grid.model], replaced=False)
    with lock(place.resolve()):
        return _swept(grid, place, workers, seconds, progress)


def _swept(grid: Grid, place: Path, workers: int, seconds: float, progress: Progress) -> list[Row]:
    place.mkdir(parents=True, exist_ok=True)
    rows = finished(place)
    cells = list(grid.cells())
    left = [cell for cell in cells if cell.key not in rows]
    threads = max(1, torch.get_num_threads() // workers)
    _teachers(left, place, workers, threads)
    progress("sweep", len(cells) - len(left), len(cells))

    def keep(row: Row) -> None:
        rows[row["key"]] = row
        add_row(place / RESULTS, row)
        progress("sweep", sum(cell.key in rows for cell in cells), len(cells))

    in_processes({cell.key: partial(run_cell, cell, place, threads) for cell in left}, workers, keep)
    if seconds > 0:
        _time(grid, cells, rows, place, seconds)
    return [rows[cell.key] for cell in cells]


def finished(place: Path) -> dict[str, Row]:
    """Read the finished rows by key."""
    return {row["key"]: row for row in read_rows(place / RESULTS)}


def _teachers(cells: Sequence[Cell], place: Path, workers: int, threads: int) -> None:
    missing = {cell.teacher_key: cell for cell in cells if cell.task and not teacher_place(cell, place).is_dir()}
    jobs = {key: partial(make_teacher, cell, place, threads) for key, cell in missing.items()}
    in_processes(jobs, workers, lambda _: None)


def _time(grid: Grid, cells: Sequence[Cell], rows: dict[str, Row], place: Path, seconds: float) -> None:
    """Add speed-ups to the rows of the first seed and the first task; models of others have the same shapes."""
    first = [cell for cell in cells if cell.seed == cells[0].seed and cell.task in (None, *grid.tasks[:1])]
    timed = [cell for cell in first if "refused" not in rows[cell.key] and "speedup" not in rows[cell.key]]
    if not timed:
        return
    dense = teacher_place(timed[0], place) if timed[0].task else user_path(grid.model)
    found: list[list[Ratio]] = []
    models = [str(model_place(cell, place)) for cell in timed]
    job = partial(measured, str(dense), models, seconds, cells[0].recipe.trust_remote_code)
    in_processes({"timing": job}, 1, found.append)
    for cell, speedup in zip(timed, found[0], strict=True):
        rows[cell.key]["speedup"] = asdict(speedup)
    write_rows(place / RESULTS, rows.values())
