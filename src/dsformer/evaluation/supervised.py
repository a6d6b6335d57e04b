"""Scores of models with a task's head: sequence and token classifiers, question answering, language models."""

from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

from transformers import PretrainedConfig, PreTrainedModel

from dsformer.data.reading import file_kind
from dsformer.data.supervised import TASK_NAMES, Columns, SupervisedTask, TaskKind, load_task
from dsformer.data.supervised.files import FORMATS
from dsformer.data.supervised.targets import listed
from dsformer.errors import InputError
from dsformer.evaluation.score import Score
from dsformer.evaluation.scoring import score_model
from dsformer.models.architectures import get_architecture
from dsformer.models.head_classes import get_class_names
from dsformer.models.heads import align_classes, has_head, is_of_kind, open_head
from dsformer.models.pretrained import load_tokenizer
from dsformer.models.source import is_gguf, open_config, open_source, quiet, resolve_model

OWN = "score it on texts and labels of its own: --tasks FILE.csv (or .tsv, .jsonl, .parquet)"
"""Advice for a model that none of the named tasks is for."""


def fits(model: str | Path, name: str, encoders_too: bool) -> bool:
    """Return whether a task is one for models with a head, and this model has such a head.

    Args:
        model: a directory, hub name or GGUF file.
        name: the task's name, or the path of a file.
        encoders_too: the task is one for sentence encoders as well. Their configuration may still name the head of the
            language model that they were made from, so then the task is for classifiers alone.

    Raises:
        InputError: there is no such model.
    """
    if name not in TASK_NAMES and not is_file(name):
        return False
    if is_gguf(model):
        return True
    head = get_architecture(open_config(model))
    if encoders_too:
        return head.endswith("ForSequenceClassification")
    return "For" in head or head.endswith("LMHeadModel")


def is_file(name: str) -> bool:
    """Return whether a task is a file of the user's, by its suffix."""
    return file_kind(Path(name)) in FORMATS


def measure(
    model: str | Path,
    name: str,
    data_dir: Path | None = None,
    limit: int | None = None,
    columns: Columns | None = None,
) -> Score:
    """Measure the main metric of a task on its evaluation split; a file of the user's is scored in full.

    Args:
        model: a directory, hub name or GGUF file.
        name: the task's name, or the path of a file.
        data_dir: a folder of data sets.
        limit: score at most this many examples, drawn at random.
        columns: the columns of the file; without a kind, the model's head says what the labels are.

    Raises:
        InputError: the data is missing, or the model has no head for the task.
    """
    started = perf_counter()
    if is_file(name):
        columns = columns or Columns()
        whole = replace(columns, evaluation=Path(name), kind=columns.kind or _kind_of(model))
        task = load_task(name, data_dir, columns=whole)
    else:
        task = load_task(name, data_dir)
    with quiet():
        network, tokenizer = _opened(model, task)
    task = align_classes(network.config, task)
    examples = task.evaluation.take(limit, seed=0)
    value = score_model(network, tokenizer, task, examples)[task.metric]
    return Score(name, task.metric, value, None, len(examples), perf_counter() - started)


def _kind_of(model: str | Path) -> TaskKind | None:
    """Return the kind of the labels that a model's head requires of a file; None: the labels decide."""
    if is_gguf(model):
        return "causal_lm"
    config = open_config(model)
    if is_of_kind(config, "classification"):
        return "regression" if config.num_labels == 1 else "classification"
    return next((kind for kind in ("masked_lm", "causal_lm") if is_of_kind(config, kind)), None)


def _opened(model: str | Path, task: SupervisedTask) -> tuple[PreTrainedModel, Any]:
    """Open the model with its head, and its tokenizer.

    Raises:
        InputError: the model has no head for the task.
    """
    if is_gguf(model):
        source = open_source(model)
        _check_head(model, source.model.config, task)
        return source.model, source.tokenizer
    _check_head(model, open_config(model), task)
    place = resolve_model(model)
    return open_head(place, task.kind), load_tokenizer(place)


def _check_head(model: str | Path, config: PretrainedConfig, task: SupervisedTask) -> None:
    """Check that a model has the head of a task.

    Raises:
        InputError: it has no such head, or one of other classes.
    """
    if has_head(config, task):
        return
    if is_of_kind(config, task.kind) and task.labels:
        raise InputError(
            f"{model}: its classes ({listed(get_class_names(config))}) are not those of the task {task.name} "
            f"({listed(task.labels)}); {OWN}"
        )
    raise InputError(f"{model}: has no head for the task {task.name} ({task.kind}, {len(task.labels)} labels); {OWN}")
