"""Report of predictions in full, as JSON values: what is written beside a model as ``metrics.json``."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from dsformer.data.supervised.task import SupervisedTask

FILE = "metrics.json"


def metrics_report(
    task: SupervisedTask, scores: Mapping[str, float], predicted: Sequence[int] | None, targets: Sequence[Any]
) -> dict[str, Any]:
    """Return the scores of a model, and for a classification the counts they are computed from.

    Args:
        task: the task that was predicted.
        scores: scores by name, times 100, the main one first.
        predicted: the index of the predicted class of every example; None for other kinds of tasks.
        targets: the target of every example.

    Returns:
        ``task``, ``data`` (what was scored), ``examples``, ``metric`` (the main one) and ``scores``. For a
            classification also ``macro_f1`` (over the classes that occur), ``per_class`` (precision, recall, F1, all
            times 100, and support, by the names of the classes) and ``confusion`` (``labels``, and ``counts`` with a
            row for every true class and a column for every predicted one).
    """
    found: dict[str, Any] = {"task": task.name, "data": task.scored_on, "examples": len(targets)}
    found |= {"metric": task.metric, "scores": dict(scores)}
    return found if predicted is None else found | _of_classes(task.labels, np.asarray(predicted), np.asarray(targets))


def _of_classes(
    labels: Sequence[str], predicted: Int[np.ndarray, " examples"], targets: Int[np.ndarray, " examples"]
) -> dict[str, Any]:
    counts = np.zeros((len(labels), len(labels)), np.int64)
    np.add.at(counts, (targets, predicted), 1)
    right, support, said = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
    precision, recall, f1 = _share(right, said), _share(right, support), _share(2 * right, said + support)
    occurring = (said + support) > 0
    return {
        "macro_f1": float(f1[occurring].mean()) if occurring.any() else 0.0,
        "per_class": {
            label: {
                "precision": float(precision[i]),
                "recall": float(recall[i]),
                "f1": float(f1[i]),
                "support": int(support[i]),
            }
            for i, label in enumerate(labels)
        },
        "confusion": {"labels": list(labels), "counts": counts.tolist()},
    }


def _share(part: Int[np.ndarray, " classes"], whole: Int[np.ndarray, " classes"]) -> np.ndarray:
    """Return a share times 100; zero where the whole is zero."""
    return 100 * part / np.maximum(whole, 1)
