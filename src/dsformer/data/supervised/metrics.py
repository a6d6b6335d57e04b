"""Metrics: the official scores of each task, from a model's predictions."""

import math
from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float, Int, Num

from dsformer.data.supervised.answers import best_answers
from dsformer.data.supervised.encoded import EncodedExamples
from dsformer.data.supervised.spans import entity_scores
from dsformer.data.supervised.squad_metric import squad_scores
from dsformer.data.supervised.task import Examples, SupervisedTask
from dsformer.errors import MissingExtraError

Predictions = np.ndarray | tuple[np.ndarray, ...] | float


def score(
    task: SupervisedTask, examples: Examples, encoded: EncodedExamples, predictions: Predictions
) -> dict[str, float]:
    """Score predictions with the metrics that the task is usually reported by; `task.metric` names the main one.

    Args:
        task: the task.
        examples: the examples that were predicted.
        encoded: what `encode` made of these examples.
        predictions: the output of transformers' `Trainer.predict` for `encoded`: logits of the shape (features,
            classes), (features, 1) for a regression, or (features, tokens, tags); a pair of start and end logits of the
            shape (features, tokens) for question answering; the mean loss for language modelling. Of a longer tuple the
            first arrays count.

    Returns:
        Scores by name, times 100; perplexity is not. Classification: "accuracy", with "f1" of the task's positive class
            where that is the main metric, or "matthews" (Matthews' correlation) alone for CoLA. Regression: "spearman",
            "pearson". Token classification: "f1", "precision", "recall" of whole entities. Question answering: "f1",
            "exact". Language modelling: "perplexity", the exponential of the loss.

    Raises:
        MissingExtraError: scikit-learn or scipy is needed and not installed.
    """
    if task.kind in ("masked_lm", "causal_lm"):
        return {"perplexity": _perplexity(predictions)}
    arrays = predictions if isinstance(predictions, tuple) else (np.asarray(predictions),)
    if len(arrays[0]) != len(encoded):
        raise ValueError(f"{len(arrays[0])} predictions for {len(encoded)} features")
    if task.kind == "question_answering":
        # Version 2.0 is recognized by its data: some questions have no answer.
        no_answer = not all(task.evaluation.targets)
        found = best_answers(examples, encoded, arrays[0], arrays[1], no_answer=no_answer)
        right = [[text for text, _ in answers] for answers in examples.targets]
        return squad_scores(found, right, no_answer=no_answer)
    if task.kind == "token_classification":
        return _score_tags(task, examples, encoded, arrays[0])
    targets = np.asarray(examples.targets)
    if task.kind == "regression":
        return _correlations(arrays[0].reshape(-1), targets)
    predicted = arrays[0].argmax(axis=-1)
    if task.metric == "f1":
        return _f1(predicted, targets, task.positive)
    return _CLASSIFICATION[task.metric](predicted, targets)


def _perplexity(loss: Predictions) -> float:
    try:
        return math.exp(float(np.asarray(loss)))
    except OverflowError:
        return math.inf


def _score_tags(
    task: SupervisedTask,
    examples: Examples,
    encoded: EncodedExamples,
    logits: Float[np.ndarray, "features tokens tags"],
) -> dict[str, float]:
    """Score the tags of words.

    Words that were truncated, or that have no token, count as predicted to be outside of entities.
    """
    predicted = []
    for words, tokens, row in zip(examples.texts, encoded.alignment["words"], logits, strict=True):
        tags = ["O"] * len(words)
        for token in np.flatnonzero(tokens >= 0):
            tags[tokens[token]] = task.labels[int(row[token].argmax())]
        predicted.append(tags)
    return entity_scores(predicted, [[task.labels[tag] for tag in tags] for tags in examples.targets])


def _accuracy(predicted: Int[np.ndarray, " examples"], targets: Int[np.ndarray, " examples"]) -> dict[str, float]:
    return {"accuracy": 100 * float(np.mean(predicted == targets))}


def _f1(
    predicted: Int[np.ndarray, " examples"], targets: Int[np.ndarray, " examples"], positive: int
) -> dict[str, float]:
    try:
        from sklearn.metrics import f1_score
    except ImportError as error:
        raise MissingExtraError("Scoring by F1", "evaluate") from error
    value = f1_score(targets == positive, predicted == positive, zero_division=0.0)
    return {"f1": 100 * float(value), **_accuracy(predicted, targets)}


def _matthews(predicted: Int[np.ndarray, " examples"], targets: Int[np.ndarray, " examples"]) -> dict[str, float]:
    try:
        from sklearn.metrics import matthews_corrcoef
    except ImportError as error:
        raise MissingExtraError("Scoring by Matthews' correlation", "evaluate") from error
    return {"matthews": 100 * float(matthews_corrcoef(targets, predicted))}


def _correlations(predicted: Float[np.ndarray, " examples"], targets: Num[np.ndarray, " examples"]) -> dict[str, float]:
    """Compute the correlations; zero if all predictions or all targets are equal, which have no order."""
    try:
        from scipy.stats import pearsonr, spearmanr
    except ImportError as error:
        raise MissingExtraError("Scoring by correlation", "evaluate") from error
    if np.ptp(predicted) == 0 or np.ptp(targets) == 0:
        return {"spearman": 0.0, "pearson": 0.0}
    return {
        "spearman": 100 * float(spearmanr(predicted, targets).statistic),
        "pearson": 100 * float(pearsonr(predicted, targets).statistic),
    }


_CLASSIFICATION: Mapping[str, Callable[[np.ndarray, np.ndarray], dict[str, float]]] = {
    "accuracy": _accuracy,
    "matthews": _matthews,
}
