"""A task's examples as the trainer takes them, and what a model scores on them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import DataCollatorWithPadding, PreTrainedModel

from dsformer.calibration.batching import longest_input, pad
from dsformer.calibration.second_moments import Text
from dsformer.data.calibration_text import read_texts
from dsformer.data.reading import file_kind
from dsformer.data.subset import even_indices
from dsformer.data.supervised import (
    Collator,
    Columns,
    Examples,
    SupervisedTask,
    collator,
    encode,
    load_task,
    score,
    texts_of,
)
from dsformer.data.supervised.report import metrics_report
from dsformer.errors import InputError
from dsformer.recipe import Recipe, TrainingRecipe
from dsformer.recipe.parts import CalibrationRecipe

LABELS = ("labels", "start_positions", "end_positions")
# Longest passage of plain text, in tokens.
TEXT_LENGTH = 128
_FILES = (".csv", ".tsv", ".jsonl", ".parquet", ".gz")


@dataclass(frozen=True)
class TrainingData:
    """Features to train on.

    Attributes:
        features: what the model sees of every example.
        collate: makes batches.
        texts: plain texts, or pairs of them, to calibrate on.
    """

    features: Sequence[dict[str, Any]]
    collate: Collator
    texts: list[Text]

    def sample(self, how: CalibrationRecipe) -> list[Text]:
        """Texts to calibrate on, from all over the data: as many as the recipe says, or has tokens for."""
        each = sum(len(one["input_ids"]) for one in self.features) / max(1, len(self.features))
        count = max(1, round(how.task_tokens / max(1.0, each))) if how.count is None else how.count
        return [self.texts[i] for i in even_indices(len(self.texts), count)]


def the_task(settings: TrainingRecipe, data_dir: Path | None) -> SupervisedTask:
    """The recipe's task. Raises InputError when it is not there, or has nothing to train on."""
    assert settings.task is not None
    columns = None
    if settings.task.endswith(_FILES):
        columns = Columns(
            settings.text_column,
            settings.pair_column,
            settings.label_column,
            settings.evaluation_file,
            settings.task_kind,
        )
    task = load_task(settings.task, data_dir, columns=columns)
    if task.train is None:
        raise InputError(f"task {task.name}: has no training data here, only data to score on")
    return task


def of_task(task: SupervisedTask, settings: TrainingRecipe, tokenizer: Any, model: PreTrainedModel) -> TrainingData:
    """The training part of a task, tokenized: no longer than the model takes.

    Args:
        task: has something to train on.
        settings: which of its examples, and their greatest length.
        tokenizer: the model's.
        model: that will be trained.
    """
    assert task.train is not None
    pad(model, tokenizer)
    examples = task.train.take(settings.examples, seed=0)
    length = min(settings.length or task.length, longest_input(model))
    return TrainingData(encode(task, examples, tokenizer, length), collator(task, tokenizer), texts_of(examples))


def of_text(settings: TrainingRecipe, tokenizer: Any, model: PreTrainedModel) -> TrainingData:
    """Plain text, tokenized: no longer than the model takes."""
    assert settings.text is not None
    column = None if file_kind(settings.text) == ".txt" else settings.text_column
    texts = read_texts(settings.text, column)[: settings.examples]
    length = min(settings.length or TEXT_LENGTH, longest_input(model))
    columns = tokenizer(texts, truncation=True, max_length=length)
    features = [dict(zip(columns.keys(), row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return TrainingData(features, DataCollatorWithPadding(tokenizer), list(texts))


def text_to_calibrate(
    recipe: Recipe, data_dir: Path | None, tokenizer: Any, model: PreTrainedModel
) -> list[Text] | None:
    """Of the recipe's task, or of its text to distil on; None where it has neither, or text for calibration itself.

    Raises:
        InputError: the task or the text is not there, or has nothing to train on.
    """
    settings = recipe.training
    if recipe.calibration.text is not None or (settings.task is None and settings.text is None):
        return None
    if settings.task is None or settings.train == "distill":
        return of_text(settings, tokenizer, model).sample(recipe.calibration)
    return of_task(the_task(settings, data_dir), settings, tokenizer, model).sample(recipe.calibration)


def score_model(
    model: PreTrainedModel,
    tokenizer: Any,
    task: SupervisedTask,
    examples: Examples | None = None,
    length: int | None = None,
    batch_size: int = 64,
) -> dict[str, float]:
    """The task's metrics by name, the main one first: the scores of :func:`report_on`, whose arguments these are."""
    return report_on(model, tokenizer, task, examples, length, batch_size)["scores"]


def report_on(
    model: PreTrainedModel,
    tokenizer: Any,
    task: SupervisedTask,
    examples: Examples | None = None,
    length: int | None = None,
    batch_size: int = 64,
) -> dict[str, Any]:
    """How a model does on examples of a task, in full precision.

    Args:
        model: with the task's head.
        tokenizer: the model's.
        task: with its classes numbered as the model has them.
        examples: the task's evaluation part if none are given.
        length: longest text in tokens; None: as the task says.
        batch_size: examples at a time, which changes nothing but time and memory.

    Returns:
        What :func:`metrics_report` says.
    """
    examples = task.evaluation if examples is None else examples
    features = encode(task, examples, tokenizer, min(length or task.length, longest_input(model)))
    collate = collator(task, tokenizer, evaluation=True)
    order = sorted(range(len(features)), key=lambda i: -len(features[i]["input_ids"]))
    outputs: dict[int, tuple[Tensor, ...]] = {}
    losses, weights = 0.0, 0
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            batch = {name: tensor.to(model.device) for name, tensor in collate([features[i] for i in chosen]).items()}
            if task.kind in ("masked_lm", "causal_lm"):
                counted = int((batch["labels"] != -100).sum())
                if counted:  # a short batch may have no masked token
                    losses, weights = losses + float(model(**batch).loss) * counted, weights + counted
                continue
            found = model(**{name: tensor for name, tensor in batch.items() if name not in LABELS})
            names = ("start_logits", "end_logits") if task.kind == "question_answering" else ("logits",)
            for row, i in enumerate(chosen):
                outputs[i] = tuple(found[name][row].float().cpu() for name in names)
    model.train(was_training)
    if task.kind in ("masked_lm", "causal_lm"):
        return metrics_report(task, score(task, examples, features, losses / max(1, weights)), None, examples.texts)
    logits = _stacked([outputs[i] for i in range(len(features))])
    scores = score(task, examples, features, logits)
    predicted = logits.argmax(axis=-1).tolist() if task.kind == "classification" else None
    return metrics_report(task, scores, predicted, examples.targets)


def _stacked(outputs: list[tuple[Tensor, ...]]) -> Any:
    """One array an output, rows padded to the longest with what no softmax picks."""
    arrays = []
    for parts in zip(*outputs, strict=True):
        padded = torch.nn.utils.rnn.pad_sequence(list(parts), batch_first=True, padding_value=-1e4)
        arrays.append(padded.numpy())
    return arrays[0] if len(arrays) == 1 else tuple(arrays)
