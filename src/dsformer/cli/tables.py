"""Tables and lines that describe a compression."""

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from dsformer.calibration.left_dense import LeftDense
from dsformer.cli.output import duration, table
from dsformer.recipe import Recipe
from dsformer.report.summary import Summary, TrainingSummary
from dsformer.report.units import megabytes, percent, times

# Names of dense layers printed for each reason; the report and the JSON have all of them.
NAMED = 4


def calibration_line(recipe: Recipe, tokens: int) -> str:
    """Describe the calibration text, defaults included."""
    settings, training = recipe.calibration, recipe.training
    text = f"at most {settings.passages} bundled book passages"
    if settings.text is not None:
        text = f"at most {settings.passages} passages of {settings.text}"
    elif training.task is not None or training.text is not None:
        distilled = training.task is None or training.train == "distill"
        text = f"texts of {Path(str(training.text)).name if distilled else Path(str(training.task)).name}"
        text += "" if settings.count is None else f" (at most {settings.count})"
    return f"Calibration: {text}, up to {settings.length} tokens each; {tokens:,} tokens seen"


def summary_table(summary: Summary) -> Table:
    """Make a table of a compression before and after."""
    rows = [
        ["bytes (tensors)", megabytes(summary.bytes_before), megabytes(summary.bytes_after)],
        ["parameters (stored values)", f"{summary.values_before:,}", f"{summary.values_after:,}"],
        *ratio_rows(summary),
        ["embedding share", percent(summary.embedding_share_before), percent(summary.embedding_share)],
        ["error (root mean square, whitened)", "", f"{summary.mean_error:.4f}"],
        ["left dense (share of the file)", "", percent(summary.rest_bytes / max(1, summary.bytes_after))],
        ["compressed blocks", "", f"{len(summary.blocks)}"],
        ["time", "", duration(summary.seconds)],
    ]
    return table(summary.model.rstrip("/").rsplit("/", 1)[-1], ["", "before", "after"], rows)


def ratio_rows(summary: Summary) -> list[list[str]]:
    """Return rows of both ratios, at one value type and over the original model."""
    return [
        ["encoder ratio (at one value type)", "", times(summary.encoder_ratio)],
        ["encoder ratio (over the model as it came)", "", times(summary.original_encoder_ratio)],
        ["total ratio (at one value type)", "", times(summary.total_ratio)],
        ["total ratio (over the file as it came)", "", times(summary.original_total_ratio)],
    ]


def left_dense_lines(left: Sequence[LeftDense], after: float) -> list[str]:
    """Describe what stays dense, why, and its share of the file, with a few names for every reason.

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
    """Describe how the factors were trained, and the scores."""
    learned = f"Learned with {training.learner} in {training.steps:,} steps, {duration(training.seconds)}"
    if training.task is None:
        return f"{learned}, following the dense model ({training.distill})"
    scores = [training.dense, training.factorized, training.trained]
    on = f" on {training.scored}" if training.scored else ""
    dense, factorized, trained = ("" if score is None else f"{score:.2f}" for score in scores)
    return (
        f"{learned} on {training.task} (distillation: {training.distill})\n"
        f"{training.metric}{on}: dense {dense}, factorized {factorized}, trained {trained}"
    )
