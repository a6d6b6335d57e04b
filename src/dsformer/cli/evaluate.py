"""``dsformer evaluate``: score a model on tasks, alone or against its dense model."""

from typing import Annotated

import typer

from dsformer.cli.options import AsJson, DataDir, TrustRemoteCode
from dsformer.cli.output import console, print_json
from dsformer.cli.scores import measure, parse_tasks, score_table
from dsformer.data.supervised import Columns
from dsformer.errors import InputError
from dsformer.evaluation import TASKS
from dsformer.models.remote_code import trusting


def evaluate(
    directory: Annotated[str, typer.Argument(help="model directory, compressed or not", show_default=False)],
    against: Annotated[str | None, typer.Option(help="the model to compare with", show_default=False)] = None,
    tasks: Annotated[
        str,
        typer.Option(
            help=f"comma-separated: {', '.join(TASKS)}, mteb:NAME (with the extra mteb); for a model with a head its "
            "task, or a file of texts and labels"
        ),
    ] = "banking77",
    text_column: Annotated[str, typer.Option(help="column of the text, in a file of yours")] = "text",
    pair_column: Annotated[str | None, typer.Option(help="column of the second text", show_default=False)] = None,
    label_column: Annotated[str, typer.Option(help="column of the label")] = "label",
    data_dir: DataDir = None,
    limit: Annotated[
        int | None, typer.Option(help="score at most so many items of each task", show_default=False)
    ] = None,
    trust_remote_code: TrustRemoteCode = False,
    as_json: AsJson = False,
) -> None:
    """Measure a sentence encoder or a model with a task's head, alone or against the model it was made from."""
    chosen = parse_tasks(tasks, data_dir)
    for name in chosen:
        if name in TASKS and TASKS[name].needs_original and against is None:
            raise InputError(f"task {name} compares with the original model: give it with --against")
    columns = Columns(text_column, pair_column, label_column)
    with trusting(trust_remote_code):
        rows = measure(directory, against, chosen, data_dir, limit, columns)
    if as_json:
        scores = [{**vars(row), "change": row.change} for row in rows]
        print_json({"model": directory, "against": against, "scores": scores})
    else:
        console().print(score_table(rows))
