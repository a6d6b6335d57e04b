"""``dsformer compress``: compress a model, score it, and write a report."""

import shlex
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from dsformer.cli.dry_run import dry_run
from dsformer.cli.error_handling import after_writing, unfinished
from dsformer.cli.options import AsJson, DataDir, Overwrite, Quiet, RecipeFile, path_option
from dsformer.cli.output import console, print_json
from dsformer.cli.recipe_flags import recipe_arguments, with_recipe_flags
from dsformer.cli.scores import measure, parse_tasks, score_table
from dsformer.cli.tables import calibration_line, left_dense_lines, summary_table, training_line
from dsformer.data.supervised import Columns
from dsformer.errors import InputError
from dsformer.pipeline.compress import compress as run_compress
from dsformer.recipe import Recipe, load_recipe
from dsformer.report.page import require_jinja, write_page
from dsformer.utils.atomic_io import check_writable
from dsformer.utils.distributed import is_first_rank
from dsformer.utils.progress import shown_progress


@with_recipe_flags
def compress(
    model: Annotated[str, typer.Argument(help="model directory or hub name", show_default=False)],
    changes: dict[str, Any],
    output: Annotated[
        Path | None,
        path_option("--output", "-o", help="directory of the compressed model"),
    ] = None,
    recipe: RecipeFile = None,
    overwrite: Overwrite = False,
    dry_run_only: Annotated[
        bool, typer.Option("--dry-run", help="calibrate, print the plan and write nothing")
    ] = False,
    evaluate: Annotated[
        str | None,
        typer.Option(help="tasks to measure before and after, such as banking77,fidelity", show_default=False),
    ] = None,
    data_dir: DataDir = None,
    report: Annotated[Path | None, path_option("--report", help="write an HTML report here")] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Compress a model: write each weight as a dense matrix times a sparse one."""
    merged = (load_recipe(recipe) if recipe else Recipe()).merged(changes)
    tasks = parse_tasks(evaluate, data_dir) if evaluate is not None else []
    if dry_run_only:
        dry_run(model, merged, data_dir, as_json=as_json, quiet=quiet)
        return
    if output is None:
        raise InputError("give the directory to write with -o / --output (or --dry-run to see the plan)")
    if report is not None:
        _check_report(report, output, [model, recipe], merged)
    with shown_progress(quiet) as progress:
        trains = merged.training.train != "none"
        with unfinished(output) if trains else nullcontext():
            done = run_compress(model, output, recipe=merged, data_dir=data_dir, overwrite=overwrite, progress=progress)
    if not is_first_rank():
        return
    summary = done.summary
    with after_writing(str(output)):
        how = merged.training
        columns = Columns(how.text_column, how.pair_column, how.label_column)
        rows = measure(str(output), model, tasks, data_dir, columns=columns) if tasks else []
        if report is not None:
            write_page(report, summary, scores=rows, command=command_line(model, output, merged))
    if as_json:
        scores = [{**vars(row), "change": row.change} for row in rows]
        print_json({**summary.as_dict(), "output": str(output), "scores": scores})
        return
    out = console()
    out.print(calibration_line(merged, summary.calibration_tokens))
    out.print(summary_table(summary))
    if summary.ratio_note:
        out.print(f"{summary.ratio_note}.")
    for line in left_dense_lines(summary.left, summary.bytes_after):
        out.print(line)
    if summary.training is not None:
        out.print(training_line(summary.training))
    if rows:
        out.print(score_table(rows))
    typer.echo(f"Model: {output}" if report is None else f"Model: {output}\nReport: {report}")


def _check_report(report: Path, output: Path, read: list[str | Path | None], recipe: Recipe) -> None:
    """Check, before the work, that the page can be written and replaces nothing that is read.

    Raises:
        InputError: it cannot, or it would.
    """
    require_jinja()
    how, learned = recipe.calibration, recipe.training
    read = [*read, how.text, recipe.vocabulary, learned.text, learned.task, learned.evaluation_file]
    if check_writable(report, "--report", read).resolve() == output.resolve():
        raise InputError(f"--report: {report} is the directory of the model; give the name of a file")


def command_line(model: str, output: Path, recipe: Recipe) -> str:
    """Return the command that repeats a compression.

    Args:
        model: as given.
        output: directory of the artefact.
        recipe: its fields that differ from the defaults become flags.
    """
    return shlex.join(["dsformer", "compress", model, "-o", str(output), *recipe_arguments(recipe)])
