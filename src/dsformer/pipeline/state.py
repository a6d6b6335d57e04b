"""What the stages of a compression pass on: the request, which never changes, and the state, which grows."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

from torch import Tensor, nn
from transformers import PreTrainedModel

from dsformer.allocation.plan import Plan
from dsformer.allocation.planned_block import FittedBlock
from dsformer.calibration.second_moments import Statistics
from dsformer.calibration.trace import Tracing
from dsformer.data.supervised import SupervisedTask
from dsformer.data.text import Text
from dsformer.models.source import Source
from dsformer.pipeline.block_checkpoints import Checkpoints
from dsformer.recipe import Recipe
from dsformer.report.summary import Summary
from dsformer.training.data import TrainingData
from dsformer.training.teacher import Teacher
from dsformer.utils.progress import Progress, silent

Model = str | Path | nn.Module
T = TypeVar("T")


@dataclass(frozen=True)
class Compressed:
    """The compressed model and the summary of its compression.

    Attributes:
        model: in memory.
        tokenizer: the model's.
        summary: bytes, errors and settings.
        output: the directory it was written to; None: it is only in memory.
    """

    model: PreTrainedModel
    tokenizer: Any
    summary: Summary
    output: Path | None


@dataclass(frozen=True)
class Request:
    """The request of a run.

    Attributes:
        model: directory, hub name or model in memory.
        recipe: how to compress.
        work: directory for the results of stages.
        resumes: stages keep their results in ``work``, and a later run of the same request continues from there.
        output: directory of the artefact; None: the model stays in memory.
        tokenizer: instead of the model's.
        texts: calibration texts, instead of the recipe's.
        data_dir: folder of data sets.
        overwrite: replace ``output`` if it exists.
        progress: notified of every step.
        started: when the run began, by ``time.perf_counter``.
    """

    model: Model
    recipe: Recipe
    work: Path
    resumes: bool = False
    output: Path | None = None
    tokenizer: Any = None
    texts: Sequence[Text] | None = None
    data_dir: Path | None = None
    overwrite: bool = False
    progress: Progress = silent
    started: float = 0.0

    @property
    def trains(self) -> bool:
        """Whether the factors are trained."""
        return self.recipe.training.train != "none"

    @property
    def seconds(self) -> float:
        """Seconds since the run began."""
        return perf_counter() - self.started


@dataclass(frozen=True)
class State:
    """The state of a compression. A stage returns it with more of its fields set.

    Attributes:
        request: of the run.
        dense: where the dense model is now: as requested, with a pruned vocabulary, or fine-tuned.
        source: the dense model, opened.
        teacher: the dense model as a teacher, for a run that trains.
        task: the task to train on, its classes numbered as in the model.
        data: the data to train on.
        dropped: layers that were removed from the dense model.
        tracing: its blocks.
        statistics: measurements of their inputs and outputs.
        probe: the batch on which sensitivities are measured.
        plan: a budget for every block.
        checkpoints: what the run keeps of its blocks.
        blocks: the factorized blocks.
        network: the compressed model.
        summary: of the compression.
        report: all metrics of the compressed model on the task.
    """

    request: Request
    dense: Model
    source: Source | None = None
    teacher: Teacher | None = None
    task: SupervisedTask | None = None
    data: TrainingData | None = None
    dropped: Sequence[nn.Module] = ()
    tracing: Tracing | None = None
    statistics: Statistics | None = None
    probe: dict[str, Tensor] | None = None
    plan: Plan | None = None
    checkpoints: Checkpoints | None = None
    blocks: tuple[FittedBlock, ...] = ()
    network: PreTrainedModel | None = None
    summary: Summary | None = None
    report: dict[str, Any] | None = None

    @property
    def recipe(self) -> Recipe:
        """The request's recipe."""
        return self.request.recipe

    @property
    def progress(self) -> Progress:
        """The request's progress display."""
        return self.request.progress


def have(value: T | None) -> T:
    """Return a field of a state that an earlier stage has set."""
    assert value is not None
    return value
