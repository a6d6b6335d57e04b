"""Scoring a model with a task's head: predictions on the task's examples, and their metrics."""

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from dsformer.data.supervised import Examples, SupervisedTask, collator, encode, score
from dsformer.data.supervised.report import metrics_report
from dsformer.models.inputs import longest_input

LABELS = ("labels", "start_positions", "end_positions")


def score_model(
    model: PreTrainedModel,
    tokenizer: Any,
    task: SupervisedTask,
    examples: Examples | None = None,
    length: int | None = None,
    batch_size: int = 64,
) -> dict[str, float]:
    """Compute the task's metrics by name, the main one first.

    They are the scores of :func:`report_on`. Arguments as of :func:`report_on`.
    """
    return report_on(model, tokenizer, task, examples, length, batch_size)["scores"]


def report_on(
    model: PreTrainedModel,
    tokenizer: Any,
    task: SupervisedTask,
    examples: Examples | None = None,
    length: int | None = None,
    batch_size: int = 64,
) -> dict[str, Any]:
    """Run a model on examples of a task, and report its metrics without rounding them.

    Args:
        model: the model, with the task's head.
        tokenizer: the model's tokenizer.
        task: the task, with its classes numbered as the model numbers them.
        examples: examples to score; by default the task's evaluation split.
        length: longest text in tokens; None: as the task says.
        batch_size: number of examples in a batch, which only affects time and memory.

    Returns:
        The report of :func:`metrics_report`.
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
    """Stack every output to one array; rows are padded to the longest with a logit that no softmax selects."""
    arrays = []
    for parts in zip(*outputs, strict=True):
        padded = torch.nn.utils.rnn.pad_sequence(list(parts), batch_first=True, padding_value=-1e4)
        arrays.append(padded.numpy())
    return arrays[0] if len(arrays) == 1 else tuple(arrays)
