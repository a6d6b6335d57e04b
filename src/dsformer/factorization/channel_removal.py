"""Structured pruning by optimal brain surgeon: removes channels of a layer's input, and the others compensate.

Whole groups of columns are removed (Hassibi and Stork, 1993; for transformers ZipLM, arXiv 2302.04089). In the metric
of the inputs with inverse Gram ``H``, removing the columns ``C`` of ``W`` costs ``tr(W_C (H_CC)⁻¹ W_Cᵀ)`` once all
other columns have compensated for it by ``- W_C (H_CC)⁻¹ H_C,:``. With the metric of the outputs as well this is the
Fisher score of a channel (Kwon et al., arXiv 2204.00656, without labels), with compensation.
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

# Fraction of the remaining columns that may be removed at once. The interactions of those are then accounted for in the
# compensation only, and not in the choice.
AT_ONCE = 1 / 32


@dataclass(frozen=True)
class ChannelOrder:
    """Order in which channels are removed.

    Attributes:
        order: channels in order of removal, the cheapest first; one channel is never removed.
        errors: squared relative error once the first 0, 1, ... are removed.
    """

    order: Int[Tensor, " gone"]
    errors: Float[Tensor, " more"]

    def kept(self, count: int) -> Int[Tensor, " kept"]:
        """Return the ``count`` channels that remain, ascending."""
        total = len(self.order) + 1
        left = torch.ones(total, dtype=torch.bool)
        left[self.order[: total - count]] = False
        return left.nonzero()[:, 0]


def order_channels(weight: Target, size: int) -> ChannelOrder:
    """Order the channels of ``size`` neighbouring columns by greedy removal, each time of the cheapest that remains."""
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
    """Compute what the removal of each channel alone would cost."""
    if size == 1:
        return matrix.square().sum(0) / inverse.diagonal()
    channels = matrix.shape[1] // size
    own = inverse.view(channels, size, channels, size).diagonal(dim1=0, dim2=2).permute(2, 0, 1)
    columns = matrix.view(-1, channels, size).permute(1, 2, 0)
    return (columns * torch.linalg.solve(own, columns)).sum((1, 2))


def _without(
    matrix: Float[Tensor, "out in"], inverse: Float[Tensor, "in in"], columns: Int[Tensor, " gone"]
) -> tuple[Float[Tensor, "out left"], Float[Tensor, "left left"], float]:
    """Remove columns with compensation. Returns the remaining matrix and inverse Gram matrix, and the squared error."""
    left = _others(matrix.shape[1], columns)
    solved = torch.linalg.solve(inverse[columns][:, columns], inverse[columns])
    spent = float((matrix[:, columns] @ torch.linalg.solve(inverse[columns][:, columns], matrix[:, columns].T)).trace())
    matrix = matrix - matrix[:, columns] @ solved
    inverse = inverse - inverse[:, columns] @ solved
    return matrix[:, left], inverse[left][:, left], spent


def _others(count: int, gone: Int[Tensor, " gone"]) -> Int[Tensor, " left"]:
    """Return the numbers below ``count`` that are not among those removed."""
    left = torch.ones(count, dtype=torch.bool)
    left[gone] = False
    return left.nonzero()[:, 0]


def repair_columns(
    matrix: Float[Tensor, "out in"], metric: Metric, columns: Int[Tensor, " kept"]
) -> Float[Tensor, "out kept"]:
    """Solve for the remaining columns that best approximate the whole weight, in the metric of the inputs.

    Args:
        matrix: the whole weight.
        metric: metric of its inputs.
        columns: the columns that remain.
    """
    gram = metric.gram.double()
    cross = matrix.double() @ gram[:, columns]
    return torch.linalg.solve(gram[columns][:, columns], cross.T).T.float()


def remove_channels(weight: Target, kept: KeptChannels, precision: Precision | None = None) -> Fitted:
    """Remove rows and columns of a weight: what remains is dense, compensated, and quantized if asked to.

    The error is that of the whole weight. Removed rows, which no layer reads any more, count as not quantized.

    Args:
        weight: weight before removal.
        kept: rows and columns that remain.
        precision: bits to quantize to by GPTQ; None: not quantized.
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
