"""The account of a compression as tables."""

from collections.abc import Sequence

from rich.table import Table

from dsformer.calibration.left_dense import LeftDense
from dsformer.cli.output import duration, megabytes, percent, table, times
from dsformer.recipe import Recipe
from dsformer.report.summary import Summary, TrainingSummary

# So many names of what stays dense are printed for each reason; the report and the JSON have all.
NAMED = 4


def calibration_line(recipe: Recipe, tokens: int, planned: bool = False) -> str:
    """Which text was used, defaults included; a plan is made before there is a task's."""
    settings = recipe.calibration
    text = f"at most {settings.count} bundled book passages"
    if settings.text is not None:
        text = f"at most {settings.count} passages of {settings.text}"
    elif recipe.training.train != "none":
        text = f"{text} (the run itself: texts trained on)" if planned else "texts trained on"
    return f"Calibration: {text}, up to {settings.length} tokens each; {tokens:,} tokens seen"


def summary_table(summary: Summary) -> Table:
    """Before and after."""
    before, after = stored_values(summary)
    rows = [
        ["bytes (tensors)", megabytes(summary.bytes_before), megabytes(summary.bytes_after)],
        ["parameters (stored values)", f"{before:,}", f"{after:,}"],
        ["encoder ratio", "", times(summary.encoder_ratio)],
        ["total ratio", "", times(summary.total_ratio)],
        ["embedding share", percent(embedding_share_before(summary)), percent(summary.embedding_share)],
        ["error (root mean square, whitened)", "", f"{summary.mean_error:.4f}"],
        ["left dense (share of the file)", "", percent(summary.rest_bytes / max(1, summary.bytes_after))],
        ["compressed blocks", "", f"{len(summary.blocks)}"],
        ["time", "", duration(summary.seconds)],
    ]
    if summary.type_factor != 1:
        rows.insert(4, ["value type, a factor on top", "", times(summary.type_factor)])
    return table(summary.model.rstrip("/").rsplit("/", 1)[-1], ["", "before", "after"], rows)


def left_dense_lines(left: Sequence[LeftDense], after: int) -> list[str]:
    """What stays as it is, why, and its share of the file: the names of a few for every reason.

    Args:
        left: by reason.
        after: bytes of the file.
    """
    lines = []
    for one in left:
        more = len(one.names) - NAMED
        names = ", ".join(one.names[:NAMED]) + (f" and {more} more" if more > 0 else "")
        size = f"{megabytes(one.bytes)}, {percent(one.bytes / max(1, after))} of the file"
        lines.append(f"Left dense: {size} ({one.reason}{': ' * bool(names)}{names})")
    return lines


def training_line(training: TrainingSummary) -> str:
    """How the factorizations were learned, and what came of it."""
    learned = f"Learned with {training.learner} in {training.steps:,} steps, {duration(training.seconds)}"
    if training.task is None:
        return f"{learned}, following the dense model ({training.distill})"
    scores = [training.dense, training.factorized, training.trained]
    dense, factorized, trained = ("" if score is None else f"{score:.2f}" for score in scores)
    return (
        f"{learned} on {training.task} (distillation: {training.distill})\n"
        f"{training.metric}: dense {dense}, factorized {factorized}, trained {trained}"
    )


def stored_values(summary: Summary) -> tuple[int, int]:
    """Numbers stored before and after, whatever their type; supports and permutations are bytes, not values."""
    others = (summary.rest_bytes + sum(block.bias for block in summary.blocks)) // (summary.types.rest // 8)
    before = others + sum(block.shape[0] * block.shape[1] for block in summary.blocks)
    before += 8 * summary.dropped_bytes // summary.types.factors.least
    whole = all(block.kind != "embedding" for block in summary.blocks)
    before += 8 * summary.vocabulary_bytes // (summary.types.rest if whole else summary.types.factors.least)
    return before, others + sum(block.values for block in summary.blocks)


def embedding_share_before(summary: Summary) -> float:
    """The tables' part of the file before compression."""
    tables = [block for block in summary.blocks if block.kind == "embedding"]
    untouched = summary.embedding_share * summary.bytes_after - sum(block.bytes_after for block in tables)
    return (untouched + sum(block.bytes_before for block in tables)) / summary.bytes_before
