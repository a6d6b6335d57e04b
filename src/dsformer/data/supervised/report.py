"""Everything there is to say of predictions, as JSON values: what is written beside a model as ``metrics.json``."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from dsformer.data.supervised.task import SupervisedTask

FILE = "metrics.json"


def metrics_report(
    task: SupervisedTask, scores: Mapping[str, float], predicted: Sequence[int] | None, targets: Sequence[Any]
) -> dict[str, Any]:
    """The scores of a model, and for a classification what they are made of.

    Args:
        task: what was predicted.
        scores: times 100 by name, the main one first.
        predicted: the index of the class of every example; None for other kinds of tasks.
        targets: the right one.

    Returns:
        ``task``, ``data`` (what was scored), ``examples``, ``metric`` (the main one) and ``scores``. For a
        classification also ``macro_f1`` (of the classes that occur), ``per_class`` (precision, recall, F1, all times
        100, and support, by the names of the classes) and ``confusion`` (``labels``, and ``counts`` with a row for
        every right class and a column for every predicted one).
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
    """Times 100; zero of nothing."""
    return 100 * part / np.maximum(whole, 1)
