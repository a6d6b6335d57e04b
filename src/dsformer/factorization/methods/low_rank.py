"""Low-rank methods in closed form, in the metrics of several papers: SVD, FWSVD, ASVD and SVD-LLM.

In the library's own method stacked layers share the basis of their input. In the others every layer is factorized
separately, as by their authors: where rows are not weighted by their effect on the output, one layer of a stack would
get nearly all ranks.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch

from dsformer.factorization.dense_sparse import Effort
from dsformer.factorization.methods.base import Method
from dsformer.factorization.metric import Metric
from dsformer.factorization.search import Budget, Fitted, rank_within
from dsformer.factorization.target import Target
from dsformer.format.pattern import Pattern

# Exponent of the inputs' size in ASVD's scaling, as its authors recommend.
ASVD_EXPONENT = 0.5


def truncated(
    metric: Callable[[Metric], Metric], weight: Target, budget: Budget, pattern: Pattern, effort: Effort
) -> Fitted | None:
    """Return the optimum of the largest rank that fits, in a metric made from that of the weight.

    ``metric`` makes it. The other arguments are as of ``Method.fit``.
    """
    shape = (weight.matrix.shape[0], weight.matrix.shape[1])
    rank = rank_within(shape, budget)
    if not rank:
        return None
    form, _ = replace(weight, metric=metric(weight.metric)).low_rank(rank)
    return Fitted(form, weight.error(form))


def plain(metric: Metric) -> Metric:
    """Return the identity metric: all inputs count the same."""
    return Metric.identity(len(metric.gram))


def by_size(metric: Metric) -> Metric:
    """Scale every input by a power of its root mean square (the authors of ASVD take the mean absolute value)."""
    scale = metric.gram.diagonal().pow(ASVD_EXPONENT / 2)
    return Metric(torch.diag(scale.square()), torch.diag(scale))


def by_rows(metric: Metric) -> Metric:
    """Weight every output by its Fisher information; all inputs count the same.

    The information is summed over the row, with the two sides taken to be independent. It is that of random projections
    of the model's output, not of a loss.
    """
    if metric.output is None:
        return plain(metric)
    scale = metric.output.gram.diagonal().sqrt()
    return replace(plain(metric), output=Metric(torch.diag(scale.square()), torch.diag(scale)))


def whitened(metric: Metric) -> Metric:
    """Return the library's metric unchanged."""
    return metric


LOW_RANK = Method(
    partial(truncated, whitened),
    "truncated SVD of the whitened weight (SVD-LLM, arXiv 2403.07378)",
    shares_dictionaries=True,
    rank_gain=1.0,
)
SVD = Method(partial(truncated, plain), "truncated SVD of the weight", per_layer=True, rank_gain=1.0)
FWSVD = Method(
    partial(truncated, by_rows),
    "truncated SVD, rows weighted by Fisher information (arXiv 2207.00112)",
    per_layer=True,
    rank_gain=1.0,
)
ASVD = Method(
    partial(truncated, by_size),
    "truncated SVD, inputs scaled by their size (ASVD, arXiv 2312.05821)",
    per_layer=True,
    rank_gain=1.0,
)
