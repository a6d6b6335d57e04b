"""Scores of models with a task's head: classifiers, taggers, readers, language models."""

from pathlib import Path
from time import perf_counter
from typing import Any

from transformers import AutoConfig, AutoTokenizer, PretrainedConfig, PreTrainedModel

from dsformer.errors import InputError
from dsformer.evaluation.score import Score
from dsformer.huggingface.source import is_gguf, model_place, open_source, quiet
from dsformer.tasks.supervised import TASK_NAMES, SupervisedTask, load_task
from dsformer.training.data import score_model
from dsformer.training.heads import has_head, open_head


def fits(model: Path, name: str) -> bool:
    """Whether a task is one for models with a head, and the model of this directory or GGUF file has one."""
    if name not in TASK_NAMES:
        return False
    if not model.is_dir():
        return is_gguf(model)
    architectures = AutoConfig.from_pretrained(model_place(model)).architectures or [""]
    return "For" in architectures[0] or architectures[0].endswith("LMHeadModel")


def measure(model: str | Path, name: str, data_dir: Path | None = None, limit: int | None = None) -> Score:
    """The main metric of a task, on its evaluation part.

    Raises:
        InputError: the data is missing, or the model has no head for the task.
    """
    started = perf_counter()
    task = load_task(name, data_dir)
    with quiet():
        network, tokenizer = _opened(model, task)
    examples = task.evaluation.take(limit, seed=0)
    value = score_model(network, tokenizer, task, examples)[task.metric]
    return Score(name, task.metric, value, None, len(examples), perf_counter() - started)


def _opened(model: str | Path, task: SupervisedTask) -> tuple[PreTrainedModel, Any]:
    """The model with its head, and its tokenizer. Raises InputError: it has none for the task."""
    if is_gguf(model):
        source = open_source(model)
        _check_head(model, source.model.config, task)
        return source.model, source.tokenizer
    place = model_place(model)
    _check_head(model, AutoConfig.from_pretrained(place), task)
    return open_head(place, task.kind), AutoTokenizer.from_pretrained(place)


def _check_head(model: str | Path, config: PretrainedConfig, task: SupervisedTask) -> None:
    if not has_head(config, task):
        raise InputError(f"{model}: has no head for the task {task.name} ({task.kind}, {len(task.labels)} labels)")
