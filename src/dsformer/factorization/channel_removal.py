"""Structured pruning: which channels of a layer's input can go, and what the others make up for.

Optimal brain surgeon on whole groups of columns (Hassibi and Stork, 1993; for transformers ZipLM, arXiv 2302.04089): in
the metric of the inputs with inverse Gram ``H``, leaving out the columns ``C`` of ``W`` costs
``tr(W_C (H_CC)⁻¹ W_Cᵀ)`` once all other columns have made up for it by ``- W_C (H_CC)⁻¹ H_C,:``. With the metric of the
outputs as well this is the Fisher score of a channel (Kwon et al., arXiv 2204.00656, without labels), repaired.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsformer.factorization.gptq import quantize_gptq
from dsformer.factorization.metric import Metric
from dsformer.factorization.search import Fitted
from dsformer.factorization.target import Target
from dsformer.format.channels import KeptChannels
from dsformer.format.form import Form, dense_form
from dsformer.format.precision import Precision
from dsformer.format.quantized import QuantizedForm
from dsformer.utils.threads import raise_if_cancelled

# Part of the columns left that may go at once; the interplay of those that do is then taken account of only in values.
AT_ONCE = 1 / 32


@dataclass(frozen=True)
class ChannelOrder:
    """Channels one after another.

    Attributes:
        order: those that go, first the one that costs least; one stays.
        errors: squared relative error once the first 0, 1, ... are gone.
    """

    order: Int[Tensor, " gone"]
    errors: Float[Tensor, " more"]

    def kept(self, count: int) -> Int[Tensor, " kept"]:
        """The channels left when there are so many, ascending."""
        total = len(self.order) + 1
        left = torch.ones(total, dtype=torch.bool)
        left[self.order[: total - count]] = False
        return left.nonzero()[:, 0]


def order_channels(weight: Target, size: int) -> ChannelOrder:
    """The order in which channels of ``size`` neighbouring columns go, each time the cheapest of what is left."""
    metric = weight.metric
    matrix = weight.matrix.double()
    if metric.output is not None:
        matrix = metric.output.factor.double().T @ matrix
    energy = float((matrix @ metric.gram.double() * matrix).sum())
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(metric.gram.double()))
    left = torch.arange(matrix.shape[1] // size)
    order: list[int] = []
    errors = [0.0]
    while len(left) > 1:
        raise_if_cancelled()
        costs = _costs(matrix, inverse, size)
        going = costs.argsort()[: min(max(1, int(AT_ONCE * len(left) / size)), len(left) - 1)]
        columns = (going[:, None] * size + torch.arange(size)).flatten()
        matrix, inverse, spent = _without(matrix, inverse, columns)
        for share in (costs[going] / costs[going].sum().clamp_min(1e-300)).cumsum(0).tolist():
            errors.append(min(1.0, errors[len(order)] + share * spent / energy))
        order += left[going].tolist()
        left = left[_others(len(left), going)]
    return ChannelOrder(torch.tensor(order, dtype=torch.long), torch.tensor(errors, dtype=torch.float64))


def _costs(matrix: Float[Tensor, "out in"], inverse: Float[Tensor, "in in"], size: int) -> Float[Tensor, " channels"]:
    """What each channel would cost by itself."""
    if size == 1:
        return matrix.square().sum(0) / inverse.diagonal()
    channels = matrix.shape[1] // size
    own = inverse.view(channels, size, channels, size).diagonal(dim1=0, dim2=2).permute(2, 0, 1)
    columns = matrix.view(-1, channels, size).permute(1, 2, 0)
    return (columns * torch.linalg.solve(own, columns)).sum((1, 2))


def _without(
    matrix: Float[Tensor, "out in"], inverse: Float[Tensor, "in in"], columns: Int[Tensor, " gone"]
) -> tuple[Float[Tensor, "out left"], Float[Tensor, "left left"], float]:
    """The matrix and the inverse Gram once columns are gone and made up for, and the squared error of that."""
    left = _others(matrix.shape[1], columns)
    solved = torch.linalg.solve(inverse[columns][:, columns], inverse[columns])
    spent = float((matrix[:, columns] @ torch.linalg.solve(inverse[columns][:, columns], matrix[:, columns].T)).trace())
    matrix = matrix - matrix[:, columns] @ solved
    inverse = inverse - inverse[:, columns] @ solved
    return matrix[:, left], inverse[left][:, left], spent


def _others(count: int, gone: Int[Tensor, " gone"]) -> Int[Tensor, " left"]:
    left = torch.ones(count, dtype=torch.bool)
    left[gone] = False
    return left.nonzero()[:, 0]


def repair_columns(
    matrix: Float[Tensor, "out in"], metric: Metric, columns: Int[Tensor, " kept"]
) -> Float[Tensor, "out kept"]:
    """The weight of the columns that stay which comes nearest to the whole one, in the metric of the inputs."""
    gram = metric.gram.double()
    cross = matrix.double() @ gram[:, columns]
    return torch.linalg.solve(gram[columns][:, columns], cross.T).T.float()


def remove_channels(weight: Target, kept: KeptChannels, precision: Precision | None = None) -> Fitted:
    """A dense weight of what stays, repaired, and rounded if asked to.

    The error is of all its rows; those that no layer reads any more count as exact.
    """
    matrix, metric = weight.matrix, weight.metric
    columns = torch.arange(matrix.shape[1]) if kept.columns is None else kept.columns
    rows = torch.arange(matrix.shape[0]) if kept.rows is None else kept.rows
    left = matrix if kept.columns is None else repair_columns(matrix, metric, columns)
    form: Form | QuantizedForm = dense_form(left[rows])
    if precision is not None and isinstance(form, Form):
        form = quantize_gptq(form, metric.gram[columns][:, columns], precision)
    whole = torch.zeros_like(matrix).index_copy_(1, columns, left.index_copy(0, rows, form.dense()))
    error = metric.weighed(matrix - whole).norm() / metric.weighed(matrix).norm().clamp_min(1e-30)
    return Fitted(form, float(error))
