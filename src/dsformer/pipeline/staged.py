"""Compression with training, in stages that a later run of the same command takes up: teacher, factorized, trained."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from transformers import PreTrainedModel, set_seed

from dsformer.calibration.batching import model_batches
from dsformer.data.supervised import SupervisedTask
from dsformer.data.supervised.report import FILE
from dsformer.data.text import Text
from dsformer.errors import InputError
from dsformer.evaluation.scoring import report_on
from dsformer.format.precision import FACTORS
from dsformer.format.quantized import round_form
from dsformer.models.artefact import save
from dsformer.models.heads import has_head, in_order_of, learns, open_for_task
from dsformer.models.load import load
from dsformer.models.pooling import pooling_of
from dsformer.models.quantizer import attach
from dsformer.models.source import Source, config_of, find_directory, open_source, quiet
from dsformer.nn.replace import round_factors
from dsformer.pipeline.quantize import round_model
from dsformer.recipe import Recipe
from dsformer.report.summary import Summary, TrainingSummary
from dsformer.training.config import TrainingConfig
from dsformer.training.data import TrainingData, of_task, of_text, the_task
from dsformer.training.finetune import train_dense, write_dense
from dsformer.training.loop import Teacher, learn
from dsformer.training.trainer import require_training, total_steps
from dsformer.training.workdir import working
from dsformer.utils.atomic_io import scratch_directory
from dsformer.utils.distributed import by_one, count, leading
from dsformer.utils.output_directory import reserved_by_first
from dsformer.utils.progress import Progress
from dsformer.vocabulary.stage import write_with_vocabulary

if TYPE_CHECKING:
    from dsformer.pipeline.compress import Compressed


@dataclass(frozen=True)
class _Run:
    """What the stages share.

    Attributes:
        recipe: of what is left to do once the vocabulary is that wanted.
        asked: the whole recipe.
        model: what it was asked for.
    """

    recipe: Recipe
    asked: Recipe
    model: str
    data_dir: Path | None
    work: Path
    progress: Progress

    @property
    def settings(self) -> TrainingConfig:
        return self.recipe.training


def compress_and_train(
    model: str | Path | PreTrainedModel,
    output: str | Path | None,
    recipe: Recipe,
    texts: Sequence[Text] | None,
    data_dir: Path | None,
    overwrite: bool,
    progress: Progress,
    factorize: Callable[..., "Compressed"],
) -> "Compressed":
    """See ``dsformer.compress``; ``factorize`` is its part without training."""
    if not isinstance(model, str | Path):
        raise InputError("training starts from a directory or a hub name, not from a model in memory")
    require_training(recipe.training)
    if output is None:
        if count() > 1:
            raise InputError("several processes need a directory to write: output")
        with scratch_directory() as scratch:
            done = compress_and_train(model, scratch / "model", recipe, texts, data_dir, False, progress, factorize)
            return replace(done, output=None)
    described = {"model": str(model), "recipe": recipe.model_dump(mode="json"), "data_dir": str(data_dir or "")}
    if texts is not None:
        described["texts"] = sha256(repr(list(texts)).encode()).hexdigest()
    with reserved_by_first(output, overwrite, [model]) as target, working(target, described) as work:
        run = _Run(recipe.merged({"vocabulary": None}), recipe, str(model), data_dir, work, progress)
        return _staged(run, _with_vocabulary(run, model), target, texts, overwrite, factorize)


def _staged(
    run: _Run,
    model: str | Path,
    target: Path,
    texts: Sequence[Text] | None,
    overwrite: bool,
    factorize: Callable[..., "Compressed"],
) -> "Compressed":
    settings = run.settings
    task = None if settings.train == "distill" else in_order_of(config_of(model), the_task(settings, run.data_dir))
    dense = model if task is None else _teacher(run, model, task)
    source = open_source(dense)
    tokenizer, network = source.tokenizer, source.model
    data = of_text(settings, tokenizer, network) if task is None else of_task(task, settings, tokenizer, network)
    teacher = replace(_as_teacher(source, task), untrained=_untrained(run, model, dense, source, task))
    network = load(_factored(run, dense, texts, data, factorize))
    summary = Summary.from_dict(network.config.quantization_config.summary)
    before = _score(_report(network, source, task, settings))
    started = perf_counter()
    learn(network, teacher, data, run.recipe.learning, run.work / "training", task is not None, run.progress)
    seconds = perf_counter() - started
    _round(network, run.recipe, data, source.tokenizer)
    report = _report(network, source, task, settings)
    scores = (_score(_report(source.model, source, task, settings)), before, _score(report))
    summary = replace(summary, training=_account(settings, task, scores, data, seconds), model=run.model)
    return _written(network, source, summary, run.asked, target, overwrite, report)


def _with_vocabulary(run: _Run, model: str | Path) -> str | Path:
    """The model, or what it was with the recipe's vocabulary."""
    corpus, place = run.asked.vocabulary, run.work / "vocabulary"
    if corpus is None:
        return model
    by_one(lambda: None if place.is_dir() else write_with_vocabulary(model, corpus, place))
    return place


def _round(network: PreTrainedModel, recipe: Recipe, data: TrainingData, tokenizer: Any) -> None:
    """Factors are rounded once they have learned, before the model is scored."""
    if recipe.factors in FACTORS:
        config, how = network.config.quantization_config, recipe.calibration
        precision = FACTORS[recipe.factors]
        if recipe.training.rounding_aware:
            # They have learned to be rounded to nearest.
            blocks = round_factors(network, config.blocks, lambda block, form: round_form(form, precision))
            attach(network, blocks, config.summary)
            return
        batches = model_batches(network, tokenizer, data.sample(how), how.length, how.batch_size)
        attach(network, round_model(network, config.blocks, batches, precision), config.summary)


def _account(
    settings: TrainingConfig,
    task: SupervisedTask | None,
    scores: tuple[float | None, float | None, float | None],
    data: TrainingData,
    seconds: float,
) -> TrainingSummary:
    return TrainingSummary(
        learner=settings.learner,
        distill="+".join(settings.terms) or "none",
        task=None if task is None else task.name,
        scored=None if task is None else task.scored,
        metric=None if task is None else task.metric,
        dense=scores[0],
        factorized=scores[1],
        trained=scores[2],
        steps=total_steps(settings, len(data.features)),
        seconds=seconds,
    )


def _written(
    network: PreTrainedModel,
    source: Source,
    summary: Summary,
    recipe: Recipe,
    output: Path,
    overwrite: bool,
    report: dict[str, Any] | None = None,
) -> "Compressed":
    from dsformer.pipeline.compress import Compressed

    summary = replace(summary, recipe=recipe.model_dump(mode="json"))
    attach(network, network.config.quantization_config.blocks, summary.as_dict())
    with quiet():
        files = {} if report is None else {FILE: json.dumps(report, indent=2, ensure_ascii=False)}
        by_one(lambda: save(network, output, source=source, overwrite=overwrite, files=files))
    return Compressed(network, source.tokenizer, summary, output)


def distilled(done: "Compressed", source: str | Path, output: Path, recipe: Recipe, progress: Progress) -> "Compressed":
    """Distil a model that was just compressed on the recipe's text and write it in place of the untrained one.

    Raises:
        InputError: the text is missing, or ``source`` is not a sentence encoder.
    """
    origin = open_source(source)
    data = of_text(recipe.training, origin.tokenizer, origin.model)
    started = perf_counter()
    with scratch_directory() as scratch:
        learn(done.model, _as_teacher(origin, None), data, recipe.learning, scratch, False, progress)
    _round(done.model, recipe, data, origin.tokenizer)
    trained = _account(recipe.training, None, (None, None, None), data, perf_counter() - started)
    return _written(done.model, origin, replace(done.summary, training=trained), recipe, output, True)


def _teacher(run: _Run, model: str | Path, task: SupervisedTask) -> str | Path:
    """The model itself if it has the task's head, else one fine-tuned on the task."""
    config = config_of(model)
    if has_head(config, task) and learns(config, task.kind):
        return model
    directory = run.work / "teacher"
    if not directory.is_dir():
        work = run.work / "finetuning"
        network, tokenizer, _ = train_dense(model, task, run.settings, work, run.progress, "finetune")
        by_one(lambda: write_dense(network, tokenizer, find_directory(model), directory))
    return directory


def _untrained(
    run: _Run, model: str | Path, dense: str | Path, source: Source, task: SupervisedTask | None
) -> PreTrainedModel | None:
    """The dense model as it was before it learned the task, for a recipe that trains weights."""
    start = run.settings.start or (model if dense != model else None)
    if start is None or task is None or not run.recipe.trains_weights:
        return None
    # A new head is then the one that the dense model began with.
    set_seed(run.settings.seed)
    network, _ = open_for_task(start, task)
    if in_order_of(config_of(start), task) is not task:
        raise InputError(f"training.start: {start} has the task's classes in another order than {run.model}")
    shapes = {name: values.shape for name, values in network.state_dict().items()}
    if shapes != {name: values.shape for name, values in source.model.state_dict().items()}:
        raise InputError(f"training.start: {start} is not the model that {run.model} was before it learned the task")
    return network


def _factored(
    run: _Run,
    dense: str | Path,
    texts: Sequence[Text] | None,
    data: TrainingData,
    factorize: Callable[..., "Compressed"],
) -> Path:
    directory = run.work / "factorized"

    def make() -> None:
        if not directory.is_dir():
            how = run.recipe.calibration
            own = data.sample(how) if texts is None and how.text is None else texts
            factorize(dense, directory, run.recipe, texts=own, progress=run.progress)

    by_one(make)
    return directory


def _report(
    model: PreTrainedModel, source: Source, task: SupervisedTask | None, settings: TrainingConfig
) -> dict[str, Any] | None:
    if task is None or not leading():
        return None
    return report_on(model, source.tokenizer, task, length=settings.length)


def _score(report: dict[str, Any] | None) -> float | None:
    return None if report is None else report["scores"][report["metric"]]


def _as_teacher(source: Source, task: SupervisedTask | None) -> Teacher:
    """The dense model; open_source has it in the class it was saved from, or the plain one of a sentence encoder."""
    pooling = pooling_of(source.directory) if task is None and source.directory is not None else None
    return Teacher(source.model, source.tokenizer, pooling)
