"""Semantic textual similarity (STS-B): correlation of cosine similarities with human scores."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32

from dsformer.data.stsb import load
from dsformer.data.subset import even_indices
from dsformer.errors import InputError, MissingExtraError
from dsformer.evaluation.encoder import unit_rows
from dsformer.evaluation.score import Inputs, Score


def measure(inputs: Inputs) -> Score:
    """Measure Spearman's correlation (times 100) of cosines with human scores over the 1,379 test pairs of STS-B.

    Raises:
        InputError: the data cannot be read, or all pairs within the limit have the same score.
        MissingExtraError: scipy is not installed.
    """
    pairs = load(inputs.data_dir)
    kept = even_indices(len(pairs.scores), inputs.limit)
    first = inputs.encode([pairs.first[index] for index in kept])
    second = inputs.encode([pairs.second[index] for index in kept])
    value = 100 * spearman(row_cosines(first, second), [pairs.scores[index] for index in kept])
    return Score("stsb", "Spearman correlation", value, None, len(kept))


def row_cosines(
    first: Float32[np.ndarray, "pairs width"], second: Float32[np.ndarray, "pairs width"]
) -> Float32[np.ndarray, " pairs"]:
    """Compute the cosine of each row of `first` with the same row of `second`, -1 to 1; 0 if either is all zeros."""
    return np.einsum("pw,pw->p", unit_rows(first), unit_rows(second))


def spearman(predicted: Float32[np.ndarray, " items"], truth: Sequence[float]) -> float:
    """Compute Spearman's rank correlation, from -1 to 1; ties share their mean rank.

    Raises:
        InputError: the true values are all equal, so there is no order to predict.
        MissingExtraError: scipy is not installed.
    """
    try:
        from scipy.stats import spearmanr
    except ImportError as error:
        raise MissingExtraError("Evaluation by rank correlation", "evaluate") from error
    if len(set(truth)) < 2:
        raise InputError("A rank correlation needs at least two items whose true scores differ")
    if np.ptp(predicted) == 0:
        return 0.0  # a model with the same embedding for all texts orders nothing; the formula would divide 0 by 0
    return float(spearmanr(predicted, truth).statistic)
