"""Low rank in closed form, in the metrics of several papers.

In the library's own stacked layers share the basis of their input; in the others every layer is by itself, as their
authors have it: where rows do not count for what they do to the output one layer of a stack would get nearly all ranks.
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
    """The optimum of the largest rank that fits, in a metric made from that of the inputs."""
    shape = (weight.matrix.shape[0], weight.matrix.shape[1])
    rank = rank_within(shape, budget)
    if not rank:
        return None
    form, _ = replace(weight, metric=metric(weight.metric)).low_rank(rank)
    return Fitted(form, weight.error(form))


def plain(metric: Metric) -> Metric:
    """All inputs alike."""
    return Metric.identity(len(metric.gram))


def by_size(metric: Metric) -> Metric:
    """Every input by a power of its root mean square (the authors of ASVD take the mean absolute value)."""
    scale = metric.gram.diagonal().pow(ASVD_EXPONENT / 2)
    return Metric(torch.diag(scale.square()), torch.diag(scale))


def by_rows(metric: Metric) -> Metric:
    """Inputs alike, every output by its Fisher information (summed over its row, the two sides taken for independent;
    of random projections of what the model says, not of a loss)."""
    if metric.output is None:
        return plain(metric)
    scale = metric.output.gram.diagonal().sqrt()
    return replace(plain(metric), output=Metric(torch.diag(scale.square()), torch.diag(scale)))


def whitened(metric: Metric) -> Metric:
    """That of the library itself."""
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
