"""Scores of models for the command line: checked before the work, printed in a table after it."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from rich.table import Table

from dsformer.cli.output import table
from dsformer.data.supervised import TASK_NAMES, Columns
from dsformer.errors import InputError, MissingExtraError
from dsformer.evaluation import TASKS, Encoder, Score, evaluate
from dsformer.evaluation.registry import require_data
from dsformer.evaluation.supervised import is_file
from dsformer.report.rows import ScoreRow


def parse_tasks(names: str, data_dir: Path | None) -> list[str]:
    """Parse a comma-separated list of tasks.

    Raises:
        InputError: a task is unknown, or its data is missing.
        MissingExtraError: the packages that evaluation needs are not installed.
    """
    tasks = list(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
    if not tasks:
        raise InputError(f"no task given; the tasks are: {', '.join(TASKS)}")
    for name in tasks:
        if name in TASKS or (name not in TASK_NAMES and not is_file(name)):
            require_data(name, data_dir)
    require_evaluation()
    return tasks


def require_evaluation() -> None:
    """Check that evaluation can run, before the work rather than after it.

    Raises:
        MissingExtraError: a package is not installed.
    """
    if find_spec("sentence_transformers") is None or find_spec("sklearn") is None:
        raise MissingExtraError("Evaluation", "evaluate")


def measure(
    model: str | Path | Encoder,
    against: str | Path | Encoder | None,
    tasks: Sequence[str],
    data_dir: Path | None = None,
    limit: int | None = None,
    columns: Columns | None = None,
) -> list[ScoreRow]:
    """Score a model and, if there is one, the model it was made from.

    Args:
        model: directory, hub name or loaded encoder.
        against: the model it was made from; None: nothing to compare with.
        tasks: names of tasks, or files.
        data_dir: folder of data sets.
        limit: the greatest number of items of each task; None: all.
        columns: of files.
    """
    after = evaluate(model, tasks, data_dir, original=against, limit=limit, columns=columns)
    own = [name for name in tasks if name not in TASKS or not TASKS[name].needs_original]
    before: Mapping[str, Score] = {}
    if against is not None and own:
        before = evaluate(against, own, data_dir, limit=limit, columns=columns)
    return [
        ScoreRow(
            task=name,
            metric=score.metric,
            before=before[name].value if name in before else None,
            after=score.value,
            spread=score.spread,
            count=score.count,
            data=score.data,
        )
        for name, score in after.items()
    ]


def score_table(rows: Sequence[ScoreRow]) -> Table:
    """Make a table of scores before, after and their difference; of one column when nothing is compared."""
    compared = any(row.before is not None for row in rows)
    columns = ["task", "metric", *(["before", "after", "change"] if compared else ["score"]), "spread", "items"]
    cells = []
    for row in rows:
        values = [f"{row.after:.2f}"]
        if compared:
            known = row.before is not None
            values = [f"{row.before:.2f}" if known else "", *values, f"{row.change:+.2f}" if known else ""]
        cells.append(
            [
                row.task if row.data is None else f"{row.task} ({row.data})",
                row.metric,
                *values,
                "" if row.spread is None else f"{row.spread:.2f}",
                f"{row.count:,}",
            ]
        )
    return table("Scores", columns, cells, text_columns=2)
