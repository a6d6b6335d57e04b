"""Task heads: opening a model for a supervised task with the head it has, or with a new one."""

import logging
from pathlib import Path
from statistics import mean
from typing import Any

import transformers
from torch import nn
from transformers import PreTrainedModel

from dsformer.data.supervised import SupervisedTask, TaskKind
from dsformer.data.supervised.targets import listed
from dsformer.errors import InputError
from dsformer.models.architectures import get_architecture
from dsformer.models.dequantize import refuse_quantized
from dsformer.models.head_classes import get_class_names, match_classes, renew_outputs
from dsformer.models.inputs import set_padding_token
from dsformer.models.pretrained import load_config, load_pretrained, load_tokenizer, shorten_names
from dsformer.models.source import quiet, resolve_model

logger = logging.getLogger(__name__)

_CLASSES: dict[TaskKind, str] = {
    "classification": "AutoModelForSequenceClassification",
    "regression": "AutoModelForSequenceClassification",
    "token_classification": "AutoModelForTokenClassification",
    "question_answering": "AutoModelForQuestionAnswering",
    "masked_lm": "AutoModelForMaskedLM",
    "causal_lm": "AutoModelForCausalLM",
}
_SUFFIXES: dict[TaskKind, tuple[str, ...]] = {
    "classification": ("ForSequenceClassification",),
    "regression": ("ForSequenceClassification",),
    "token_classification": ("ForTokenClassification",),
    "question_answering": ("ForQuestionAnswering",),
    "masked_lm": ("ForMaskedLM",),
    "causal_lm": ("ForCausalLM", "LMHeadModel"),
}

_PROBLEMS: dict[TaskKind, str] = {"classification": "single_label_classification", "regression": "regression"}


def has_head(config: Any, task: SupervisedTask) -> bool:
    """Return whether a model's configuration is that of a model with this task's head."""
    if not is_of_kind(config, task.kind):
        return False
    if task.kind == "regression":
        return config.num_labels == 1
    return not task.labels or match_classes(config, task) is not None


def is_of_kind(config: Any, kind: TaskKind) -> bool:
    """Return whether a model's configuration is that of a model with a head of this kind, with any classes."""
    return get_architecture(config).endswith(_SUFFIXES[kind])


def has_loss_of(config: Any, kind: TaskKind) -> bool:
    """Return whether the loss of a model with such a head is the loss of a task of this kind."""
    return getattr(config, "problem_type", None) in (None, _PROBLEMS.get(kind))


def align_classes(config: Any, task: SupervisedTask) -> SupervisedTask:
    """Return the task with its classes numbered as the model's head numbers them.

    Classes that only the model has are added. For a model without this task's head, the task itself is returned.
    """
    found = match_classes(config, task) if task.labels and is_of_kind(config, task.kind) else None
    if found is None:
        return task
    names = get_class_names(config)
    if found.guessed:
        pairs = ", ".join(f"{name} is {label!r}" for name, label in zip(names, task.labels, strict=True))
        logger.warning("task %s: the model does not name its classes; by their order %s", task.name, pairs)
    return task if found.same else task.renumbered(found.order, names)


def open_for_task(model: str | Path, task: SupervisedTask) -> tuple[PreTrainedModel, Any]:
    """Open a dense model with the task's head, new if it has none yet, and its tokenizer.

    A head that the model has keeps its classes, with their names and order: ``align_classes(network.config, task)`` is
    the task as the network has to learn it.

    Args:
        model: a directory or hub name.
        task: the task; a new output for a regression starts at the mean of its training targets.

    Raises:
        InputError: the model cannot be found or loaded, is compressed, or its architecture has no head of this kind.
    """
    with quiet():
        place = resolve_model(model)
        made: set[str] = set()

        def new(name: str, network: PreTrainedModel, reshaped: bool) -> bool:
            made.add(name)
            if not headless:  # an existing head keeps its weights unless the number of classes differs
                return reshaped and is_of_head(name, network)
            return is_of_head(name, network) or name.startswith(f"{network.base_model_prefix}.pooler.")

        try:
            config = load_config(place)
            refuse_quantized(config)
            headless = not is_of_kind(config, task.kind)
            renewed = _set_outputs(config, task)
            network = load_pretrained(
                getattr(transformers, _CLASSES[task.kind]), place, new=new, config=config, ignore_mismatched_sizes=True
            )
            tokenizer = load_tokenizer(place)
        except InputError as error:
            raise InputError(f"{model}: cannot be opened for {task.kind} ({error})") from error
    if made:
        logger.info("%s: a new head for %s (%s), to be trained", model, task.name, shorten_names(sorted(made)))
    if renewed:
        renew_outputs(network)
    set_padding_token(network, tokenizer)
    if task.kind == "regression" and task.train is not None:
        _centre(network, made, mean(task.train.targets))
    return network.float(), tokenizer


def _set_outputs(config: Any, task: SupervisedTask) -> bool:
    """Set the configuration to that of a head for the task.

    Returns:
        Whether the model has a head with as many outputs, but of other classes.
    """
    if task.kind in _PROBLEMS:
        config.problem_type = _PROBLEMS[task.kind]
    if task.kind not in _PROBLEMS and not task.labels:
        return False
    there, names = is_of_kind(config, task.kind), get_class_names(config)
    found = match_classes(config, task) if there and task.labels else None
    kept = found is not None or (there and not task.labels and len(names) == 1)
    if there and not kept:
        wanted = f"its classes ({listed(task.labels)}) are" if task.labels else "its number is"
        logger.warning(
            "task %s: %s not what the model tells (%s): a new head is trained", task.name, wanted, listed(names)
        )
    if not task.labels:
        config.num_labels = 1
    elif not kept or (found is not None and found.unnamed):
        config.id2label = dict(enumerate(task.labels))
        config.label2id = {name: number for number, name in config.id2label.items()}
    return there and not kept and len(names) == len(task.labels)


def _centre(network: PreTrainedModel, new: set[str], middle: float) -> None:
    """Set the bias of a new regression output to the mean of its targets.

    From zero the first steps only move it there, through all of its inputs, and training may take an epoch to recover
    from that (MiniLM on STS-B).
    """
    for name, parameter in get_head(network).items():
        if name in new and name.endswith("bias") and parameter.numel() == 1:
            nn.init.constant_(parameter, middle)


def open_head(place: Path, kind: TaskKind) -> PreTrainedModel:
    """Open a dense or compressed model in the class that has a head of this kind."""
    return load_pretrained(getattr(transformers, _CLASSES[kind]), place).eval()


def get_head(model: PreTrainedModel) -> dict[str, nn.Parameter]:
    """Return the parameters outside the base model, which are untrained in a new head.

    Parameters tied to the base model are not among them.
    """
    return {name: p for name, p in model.named_parameters() if is_of_head(name, model)}


def is_of_head(name: str, model: PreTrainedModel) -> bool:
    """Return whether a parameter is outside the base model, by its name."""
    return not name.startswith(f"{model.base_model_prefix}.")
