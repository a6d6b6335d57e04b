"""What the stages of a compression hand on: the request, which stays as it is, and the state, which grows."""

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
from dsformer.recipe import Recipe
from dsformer.report.summary import Summary
from dsformer.training.data import TrainingData
from dsformer.utils.progress import Progress, silent

Model = str | Path | nn.Module
T = TypeVar("T")


@dataclass(frozen=True)
class Compressed:
    """The compressed model (in memory; also at ``output`` if that was given) and what happened to it."""

    model: PreTrainedModel
    tokenizer: Any
    summary: Summary
    output: Path | None


@dataclass(frozen=True)
class Request:
    """What a run was asked for.

    Attributes:
        model: directory, hub name or model in memory.
        recipe: how.
        work: directory for what stages leave behind.
        resumes: stages keep in ``work`` what they have, and a later run of the same request goes on from there.
        output: directory of the artefact; None: the model stays in memory.
        tokenizer: instead of the model's own.
        texts: calibration texts, instead of the recipe's.
        data_dir: folder of data sets.
        overwrite: ``output`` may be there.
        progress: told about every step.
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
        """Whether the factorizations are learned."""
        return self.recipe.training.train != "none"

    @property
    def seconds(self) -> float:
        """Since the run began."""
        return perf_counter() - self.started


@dataclass(frozen=True)
class State:
    """Where a compression is. A stage returns it with more of its fields set.

    Attributes:
        dense: the dense model as it is now: as asked for, with a pruned vocabulary, fine-tuned.
        source: the dense model, opened.
        task: what is learned, its classes numbered as the model has them.
        data: what is trained on.
        dropped: layers that the dense model had before.
        tracing: its blocks.
        statistics: what was measured of their inputs and outputs.
        probe: the batch on which sensitivities are measured.
        plan: a budget for every block.
        blocks: the factorized blocks.
        network: the compressed model.
        summary: the account of it.
        scores: of the dense, the factorized and the trained model on the task.
        report: all metrics of the compressed model on the task.
    """

    request: Request
    dense: Model
    source: Source | None = None
    task: SupervisedTask | None = None
    data: TrainingData | None = None
    dropped: Sequence[nn.Module] = ()
    tracing: Tracing | None = None
    statistics: Statistics | None = None
    probe: dict[str, Tensor] | None = None
    plan: Plan | None = None
    blocks: tuple[FittedBlock, ...] = ()
    network: PreTrainedModel | None = None
    summary: Summary | None = None
    factorized_score: float | None = None
    report: dict[str, Any] | None = None

    @property
    def recipe(self) -> Recipe:
        return self.request.recipe

    @property
    def progress(self) -> Progress:
        return self.request.progress


def have(value: T | None) -> T:
    """A field of a state that an earlier stage has set."""
    assert value is not None
    return value
