"""``dsformer sweep``: compare methods over ratios, tasks and seeds."""

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from dsformer.cli.options import AsJson, DataDir, Quiet, RecipeFile, path_option
from dsformer.cli.output import console, print_json, table
from dsformer.cli.recipe_flags import with_recipe_flags
from dsformer.cli.scores import parse_tasks
from dsformer.errors import InputError
from dsformer.factorization.methods import METHODS
from dsformer.recipe import Recipe, load_recipe
from dsformer.report.units import megabytes, times
from dsformer.sweep import Grid, Variant
from dsformer.sweep import sweep as run_sweep
from dsformer.sweep.lines import Line, dense_scores, lines, with_spread
from dsformer.sweep.page import require_page, write_page
from dsformer.utils.progress import shown_progress

# Recipe flags that a sweep replaces by lists of values.
_OWN = {"method": "--methods", "pattern": "--methods, as in dense_sparse@2:4", "ratio": "--ratios"}


@with_recipe_flags
def sweep(
    model: Annotated[str, typer.Argument(help="model directory or hub name", show_default=False)],
    changes: dict[str, Any],
    output: Annotated[
        Path,
        path_option("--output", "-o", help="directory of results and models"),
    ],
    methods: Annotated[
        str, typer.Option(help=f"comma-separated, with a pattern after @ and a learner after +: {', '.join(METHODS)}")
    ] = "dense_sparse,low_rank,pruning",
    ratios: Annotated[str, typer.Option(help="comma-separated")] = "2,2.8,3.57",
    tasks: Annotated[
        str | None, typer.Option(help="tasks to fine-tune, compress, train and score on", show_default=False)
    ] = None,
    evaluate: Annotated[
        str | None,
        typer.Option(help="without tasks: what to score the encoder on, as dsformer evaluate", show_default=False),
    ] = None,
    seeds: Annotated[int, typer.Option(help="runs of every task")] = 1,
    first_seed: Annotated[int, typer.Option(help="seed of the first of them; others follow")] = 0,
    dense_epochs: Annotated[
        float | None, typer.Option(help="passes of the dense model (default: as of what is made of it)")
    ] = None,
    workers: Annotated[int, typer.Option(help="compressions at a time")] = 1,
    seconds: Annotated[float, typer.Option(help="of timing for every model; 0: none")] = 3.0,
    recipe: RecipeFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Compare methods at equal stored bytes: every method by every ratio, task and seed, each in its own process."""
    grid = _grid(model, changes, methods, ratios, tasks, evaluate, dense_epochs, recipe, data_dir)
    grid = replace(grid, seeds=seeds, first_seed=first_seed)
    grid.check()
    require_page()
    with shown_progress(quiet or as_json) as progress:
        rows = run_sweep(grid, output, workers, seconds, progress)
    page = output / "sweep.html"
    write_page(page, rows, model, shlex.join(["dsformer", *sys.argv[1:]]))
    if as_json:
        print_json({"rows": rows, "page": str(page)})
        return
    console().print(_table(lines(rows), dense_scores(rows)))
    for line in lines(rows):
        if line.refused:
            typer.echo(f"{line.method} at {line.ratio:g}x: {line.refused}")
    typer.echo(f"Page: {page}")


def _grid(
    model: str,
    changes: dict[str, Any],
    methods: str,
    ratios: str,
    tasks: str | None,
    evaluate: str | None,
    dense_epochs: float | None,
    recipe: Path | None,
    data_dir: Path | None,
) -> Grid:
    """Make a grid without its seeds."""
    for name, instead in _OWN.items():
        if name in changes:
            raise InputError(f"sweep: give {instead} instead of --{name}")
    if {"task", "seed"} & set(changes.get("training", {})):
        raise InputError("sweep: give --tasks and --seeds instead of --task and --seed")
    base = load_recipe(recipe) if recipe else Recipe()
    fields = {**base.model_dump(exclude={"training"}, exclude_unset=True), **changes}
    fields["training"] = {**base.training.model_dump(exclude_unset=True), **changes.get("training", {})}
    return Grid(
        model,
        tuple(Variant.parse(one) for one in methods.split(",")),
        tuple(_numbers(ratios)),
        tuple(_words(tasks)),
        evaluate=tuple(parse_tasks(evaluate, data_dir)) if evaluate else (),
        data_dir=None if data_dir is None else str(data_dir),
        fields=fields,
        dense={} if dense_epochs is None else {"epochs": dense_epochs},
    )


def _words(text: str | None) -> list[str]:
    return [word.strip() for word in (text or "").split(",") if word.strip()]


def _numbers(text: str) -> list[float]:
    try:
        return [float(word) for word in _words(text)]
    except ValueError:
        raise InputError(f"ratios: {text!r} is not a list of numbers such as 2,2.8") from None


def _table(found: list[Line], dense: dict[str, float]):
    names = sorted({task for line in found for task in line.scores or {}})
    columns = ["method", "asked", "encoder", "size", "error", *names, "mean", "speed-up"]
    cells = [["dense", "", "", "", "", *(f"{dense[name]:.2f}" if name in dense else "" for name in names), "", ""]]
    for line in found:
        if line.refused:
            continue
        scores = line.scores or {}
        cells.append(
            [
                line.method,
                f"{line.ratio:g}",
                times(line.encoder_ratio),
                megabytes(round(line.bytes)),
                f"{line.error:.4f}",
                *(with_spread(scores[name]) if name in scores else "" for name in names),
                "" if line.mean is None else f"{line.mean:.2f}",
                times(line.speedup["middle"]) if line.speedup else "",
            ]
        )
    return table("Sweep", columns, cells)
