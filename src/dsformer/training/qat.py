"""Quantization-aware training: factors are fake-quantized in the forward pass."""

import torch
from jaxtyping import Float
from torch import Tensor

from dsformer.format.form import Form
from dsformer.format.precision import Precision
from dsformer.format.quantized import integer_bounds, step_sizes

# Optimizer steps between two updates of the quantization steps.
EVERY = 16


def block_steps(
    form: Form, order: Tensor, precision: Precision
) -> tuple[Float[Tensor, "units kept"], Float[Tensor, "atoms width"]]:
    """Compute the quantization steps of a block's values and dictionary, in the layout that training uses.

    Args:
        form: the block's factorization.
        order: unit of every row of the form's values.
        precision: bits of codes and dictionary.

    Returns:
        Steps of the values, units in the weight's order, and of the dictionary, one atom a row.
    """
    values, dictionary = step_sizes(form, precision)
    dictionary = dictionary if form.spec.orientation == "input" else dictionary.T.contiguous()
    return torch.empty_like(values).index_copy_(0, order, values), dictionary


def fake_quantize(numbers: Float[Tensor, "rows columns"], step: Float[Tensor, "rows columns"], bits: int) -> Tensor:
    """Quantize to the nearest multiple of a step and back; gradients pass unchanged (straight-through).

    Args:
        numbers: to quantize.
        step: the step of every number; 0 gives 0.
        bits: of the integers.
    """
    low, high = integer_bounds(bits)
    with torch.no_grad():
        whole = torch.where(step != 0, numbers / step, torch.zeros_like(numbers)).round().clamp(low, high)
        change = whole * step - numbers
    return numbers + change
