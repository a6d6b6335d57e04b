"""``dsformer finetune``: train a dense model on a task."""

from pathlib import Path
from typing import Annotated, Any

import typer

from dsformer.cli.error_handling import unfinished
from dsformer.cli.options import AsJson, DataDir, Overwrite, Quiet, RecipeFile, TrustRemoteCode, path_option
from dsformer.cli.output import console, duration, print_json, table
from dsformer.cli.recipe_flags import with_training_flags
from dsformer.errors import InputError
from dsformer.recipe import Recipe, load_recipe
from dsformer.utils.distributed import is_first_rank
from dsformer.utils.progress import shown_progress

FIELDS = (
    *("task", "text_column", "pair_column", "label_column", "evaluation_file", "task_kind", "examples", "epochs"),
    *("batch_size", "accumulate", "learning_rate", "warmup", "length", "seed", "bf16", "train_embeddings"),
    *("save_steps", "report_to"),
)


@with_training_flags(FIELDS)
def finetune(
    model: Annotated[str, typer.Argument(help="model directory or hub name", show_default=False)],
    changes: dict[str, Any],
    output: Annotated[
        Path | None,
        path_option("--output", "-o", help="directory of the trained model"),
    ] = None,
    recipe: RecipeFile = None,
    overwrite: Overwrite = False,
    data_dir: DataDir = None,
    trust_remote_code: TrustRemoteCode = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Train a dense model on a task: the teacher, and the baseline, of a compressed one."""
    # Imported here because importing transformers' Trainer takes a while.
    from dsformer.pipeline.finetune import finetune as run_finetune

    merged = (load_recipe(recipe) if recipe else Recipe()).merged(changes)
    if output is None:
        raise InputError("give the directory to write with -o / --output")
    with shown_progress(quiet) as progress, unfinished(output):
        done = run_finetune(
            model,
            output,
            recipe=merged,
            data_dir=data_dir,
            overwrite=overwrite,
            trust_remote_code=trust_remote_code,
            progress=progress,
        )
    if not is_first_rank():
        return
    if as_json:
        print_json({"output": str(output), "seconds": round(done.seconds, 1), **done.report})
        return
    rows = [[name, f"{value:.2f}"] for name, value in done.scores.items()]
    console().print(table(f"{done.task.scored_on} ({duration(done.seconds)})", ["", "score"], rows))
    typer.echo(f"Model: {output}")
