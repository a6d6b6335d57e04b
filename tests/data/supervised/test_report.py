import json

import numpy as np
import pytest

from dsformer.data.supervised import Examples, SupervisedTask
from dsformer.data.supervised.report import metrics_report

TARGETS, PREDICTED = (0, 0, 1, 1, 1, 2), [0, 1, 1, 1, 0, 2]


def task(*labels: str, **fields: object) -> SupervisedTask:
    return SupervisedTask("toy.csv", "classification", labels, None, Examples(("x",)), "accuracy", **fields)


def test_every_class_and_the_confusion_of_all():
    found = metrics_report(task("a", "b", "c", "never", scored="test.csv"), {"accuracy": 66.7}, PREDICTED, TARGETS)
    assert (found["task"], found["data"], found["examples"]) == ("toy.csv", "test.csv", 6)
    assert (found["metric"], found["scores"]) == ("accuracy", {"accuracy": 66.7})
    assert found["confusion"] == {
        "labels": ["a", "b", "c", "never"],
        "counts": [[1, 1, 0, 0], [1, 2, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]],
    }
    assert found["per_class"]["a"] == {"precision": 50.0, "recall": 50.0, "f1": 50.0, "support": 2}
    assert found["per_class"]["never"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}
    assert json.loads(json.dumps(found)) == found


def test_as_scikit_learn_has_it():
    metrics = pytest.importorskip("sklearn.metrics")
    draw = np.random.default_rng(0)
    targets, predicted = draw.integers(0, 5, 200).tolist(), draw.integers(0, 5, 200).tolist()
    found = metrics_report(task(*"abcdef"), {}, predicted, targets)
    rows = metrics.precision_recall_fscore_support(targets, predicted, labels=range(6), zero_division=0.0)
    for label, *values in zip("abcdef", *rows, strict=True):
        own = found["per_class"][label]
        assert [own["precision"], own["recall"], own["f1"]] == pytest.approx([100 * one for one in values[:3]])
        assert own["support"] == values[3]
    assert found["macro_f1"] == pytest.approx(100 * metrics.f1_score(targets, predicted, average="macro"))
    assert found["confusion"]["counts"][:5] == [
        [*row, 0] for row in metrics.confusion_matrix(targets, predicted).tolist()
    ]


def test_other_kinds_have_scores_alone():
    found = metrics_report(task(), {"spearman": 1.0}, None, (0.5, 1.5))
    assert set(found) == {"task", "data", "examples", "metric", "scores"}
