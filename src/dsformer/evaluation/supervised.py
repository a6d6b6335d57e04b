"""Scores of models with a task's head: classifiers, taggers, readers, language models."""

from pathlib import Path
from time import perf_counter
from typing import Any

from transformers import AutoTokenizer, PretrainedConfig, PreTrainedModel

from dsformer.errors import InputError
from dsformer.evaluation.score import Score
from dsformer.huggingface.opening import opening
from dsformer.huggingface.source import config_of, is_gguf, model_place, open_source, quiet
from dsformer.tasks.supervised import TASK_NAMES, SupervisedTask, load_task
from dsformer.training.data import score_model
from dsformer.training.heads import has_head, in_order_of, open_head


def fits(model: str | Path, name: str, encoders_too: bool) -> bool:
    """Whether a task is one for models with a head, and this one has such a head.

    Args:
        encoders_too: the task is one for sentence encoders as well, whose configuration may still name the head of a
            language model that they were made from: then it is for classifiers alone.

    Raises:
        InputError: there is no such model.
    """
    if name not in TASK_NAMES:
        return False
    if is_gguf(model):
        return True
    head = (config_of(model).architectures or [""])[0]
    if encoders_too:
        return head.endswith("ForSequenceClassification")
    return "For" in head or head.endswith("LMHeadModel")


def measure(model: str | Path, name: str, data_dir: Path | None = None, limit: int | None = None) -> Score:
    """The main metric of a task, on its evaluation part.

    Raises:
        InputError: the data is missing, or the model has no head for the task.
    """
    started = perf_counter()
    task = load_task(name, data_dir)
    with quiet():
        network, tokenizer = _opened(model, task)
    task = in_order_of(network.config, task)
    examples = task.evaluation.take(limit, seed=0)
    value = score_model(network, tokenizer, task, examples)[task.metric]
    return Score(name, task.metric, value, None, len(examples), perf_counter() - started)


def _opened(model: str | Path, task: SupervisedTask) -> tuple[PreTrainedModel, Any]:
    """The model with its head, and its tokenizer. Raises InputError: it has none for the task."""
    if is_gguf(model):
        source = open_source(model)
        _check_head(model, source.model.config, task)
        return source.model, source.tokenizer
    _check_head(model, config_of(model), task)
    place = model_place(model)
    with opening(model):
        return open_head(place, task.kind), AutoTokenizer.from_pretrained(place)


def _check_head(model: str | Path, config: PretrainedConfig, task: SupervisedTask) -> None:
    if not has_head(config, task):
        raise InputError(f"{model}: has no head for the task {task.name} ({task.kind}, {len(task.labels)} labels)")
