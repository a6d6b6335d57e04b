"""A model for a task: opened as it is, or a base model given a new head."""

from pathlib import Path
from statistics import mean
from typing import Any

import transformers
from torch import nn
from transformers import AutoConfig, AutoTokenizer, PreTrainedModel

from dsformer.calibration.inputs import pad
from dsformer.errors import InputError
from dsformer.huggingface.opening import check_config, opening
from dsformer.huggingface.quantized import refuse_quantized
from dsformer.huggingface.source import model_place, quiet
from dsformer.tasks.supervised import Kind, SupervisedTask

_CLASSES: dict[Kind, str] = {
    "classification": "AutoModelForSequenceClassification",
    "regression": "AutoModelForSequenceClassification",
    "token_classification": "AutoModelForTokenClassification",
    "question_answering": "AutoModelForQuestionAnswering",
    "masked_lm": "AutoModelForMaskedLM",
    "causal_lm": "AutoModelForCausalLM",
}
_SUFFIXES: dict[Kind, tuple[str, ...]] = {
    "classification": ("ForSequenceClassification",),
    "regression": ("ForSequenceClassification",),
    "token_classification": ("ForTokenClassification",),
    "question_answering": ("ForQuestionAnswering",),
    "masked_lm": ("ForMaskedLM",),
    "causal_lm": ("ForCausalLM", "LMHeadModel"),
}


def has_head(config: Any, task: SupervisedTask) -> bool:
    """Whether a model's configuration is that of a model with this task's head."""
    name = (getattr(config, "architectures", None) or [""])[0]
    outputs = 1 if task.kind == "regression" else len(task.labels)
    return name.endswith(_SUFFIXES[task.kind]) and (not outputs or config.num_labels == outputs)


def in_order_of(config: Any, task: SupervisedTask) -> SupervisedTask:
    """The task with its classes numbered as a model numbers them, where both call them by the same names.

    Raises:
        InputError: the score is about the class with number 1, which is another one here.
    """
    if not has_head(config, task) or not task.labels:
        return task
    names = [str(config.id2label[number]).casefold() for number in range(config.num_labels)]
    own = [label.casefold() for label in task.labels]
    if names == own or sorted(names) != sorted(own) or len(set(own)) < len(own):
        return task
    if task.metric == "f1" and task.kind == "classification":
        raise InputError(f"task {task.name}: the model has its classes in another order ({', '.join(names)})")
    return task.renumbered([own.index(name) for name in names])


def open_for_task(model: str | Path, task: SupervisedTask) -> tuple[PreTrainedModel, Any]:
    """A dense model with the task's head, new if it has none yet, and its tokenizer.

    Raises:
        InputError: it cannot be found or loaded, is compressed, or its architecture has no head of this kind.
    """
    with quiet():
        place = model_place(model)
        words: dict[str, Any] = {}
        if task.kind in ("classification", "token_classification"):
            words = {"id2label": dict(enumerate(task.labels)), "label2id": {n: i for i, n in enumerate(task.labels)}}
        elif task.kind == "regression":
            words = {"num_labels": 1, "problem_type": "regression"}
        with opening(model, f"for {task.kind}"):
            config = AutoConfig.from_pretrained(place, **words)
            check_config(config)
            refuse_quantized(config)
            network, loaded = getattr(transformers, _CLASSES[task.kind]).from_pretrained(
                place, config=config, ignore_mismatched_sizes=True, output_loading_info=True
            )
            tokenizer = AutoTokenizer.from_pretrained(place)
    pad(network, tokenizer)
    if task.kind == "regression" and task.train is not None:
        new = {*loaded["missing_keys"], *(name for name, *_ in loaded["mismatched_keys"])}
        _centre(network, new, mean(task.train.targets))
    return network.float(), tokenizer


def _centre(network: PreTrainedModel, new: set[str], middle: float) -> None:
    """Let a new output start at the mean of its targets. From zero the first steps do nothing but move it there,
    through all of its inputs, and training may take an epoch to come back from that (MiniLM on STS-B)."""
    for name, parameter in head_of(network).items():
        if name in new and name.endswith("bias") and parameter.numel() == 1:
            nn.init.constant_(parameter, middle)


def open_head(place: Path, kind: Kind) -> PreTrainedModel:
    """A model, dense or compressed, in the class that has its head."""
    with opening(place):
        return getattr(transformers, _CLASSES[kind]).from_pretrained(place).eval()


def head_of(model: PreTrainedModel) -> dict[str, nn.Parameter]:
    """Parameters outside the base model, which start from nothing; those tied into it are not among them."""
    prefix = model.base_model_prefix
    return {name: p for name, p in model.named_parameters() if not name.startswith(f"{prefix}.")}
