"""Intent classification by logistic regression on frozen embeddings (banking77), by the protocol of MTEB."""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float32

from dsformer.data.banking77 import load
from dsformer.data.subset import even_indices
from dsformer.errors import MissingExtraError
from dsformer.evaluation.score import Inputs, Score

# MTEB's settings for this task (mteb.abstasks.AbsTaskClassification).
SEED = 42
DRAWS = 10
SAMPLES_PER_LABEL = 8
MAX_ITERATIONS = 100


def measure(inputs: Inputs) -> Score:
    """Measure the mean accuracy (percent) of ten logistic regressions, each fitted to 8 training queries per intent.

    This is Banking77Classification of MTEB (Muennighoff et al. 2023), with the same draws. The spread is the standard
    deviation over the draws. With a limit below the 3,080 test queries there is one draw only, and no spread.

    Raises:
        InputError: the data cannot be read.
        MissingExtraError: scikit-learn is not installed.
    """
    data = load(inputs.data_dir)
    kept = even_indices(len(data.test.texts), inputs.limit)
    draws = list(draw_samples(data.train.labels, DRAWS if len(kept) == len(data.test.texts) else 1))
    # The draws overlap: a training query is embedded once, or not at all if it is never drawn.
    used = sorted({index for draw in draws for index in draw})
    row = {index: position for position, index in enumerate(used)}
    train_embeddings = inputs.encode([data.train.texts[index] for index in used])
    test_embeddings = inputs.encode([data.test.texts[index] for index in kept])
    test_labels = [data.test.labels[index] for index in kept]
    accuracies = [
        100
        * fit_and_score(
            train_embeddings[[row[index] for index in draw]],
            [data.train.labels[index] for index in draw],
            test_embeddings,
            test_labels,
        )
        for draw in draws
    ]
    spread = float(np.std(accuracies)) if len(accuracies) > 1 else None
    return Score("banking77", "accuracy", float(np.mean(accuracies)), spread, len(kept))


def draw_samples(labels: Sequence[int], draws: int) -> Iterator[list[int]]:
    """Yield the indices of the training items of each draw: the first 8 of every label in a shuffled order.

    MTEB shuffles the *already shuffled* order again, each time with a generator of the same seed. This function does
    the same, to get the same draws.
    """
    order = np.arange(len(labels))
    for _ in range(draws):
        np.random.RandomState(SEED).shuffle(order)
        taken: Counter[int] = Counter()
        chosen = []
        for index in order.tolist():
            if taken[labels[index]] < SAMPLES_PER_LABEL:
                taken[labels[index]] += 1
                chosen.append(index)
        yield chosen


def fit_and_score(
    train: Float32[np.ndarray, "train width"],
    train_labels: Sequence[int],
    test: Float32[np.ndarray, "test width"],
    test_labels: Sequence[int],
) -> float:
    """Fit a logistic regression to the training rows, and return its accuracy on the test rows, from 0 to 1.

    Args:
        train: embeddings to fit to.
        train_labels: index of the class of every row of ``train``.
        test: embeddings to classify.
        test_labels: index of the class of every row of ``test``.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise MissingExtraError("Evaluation by classification", "evaluate") from error
    classifier = LogisticRegression(max_iter=MAX_ITERATIONS, random_state=SEED).fit(train, train_labels)
    return float(np.mean(classifier.predict(test) == np.asarray(test_labels)))
