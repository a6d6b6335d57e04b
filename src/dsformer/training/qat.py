"""Training with factors that are rounded on the way forward (quantization-aware), so that they learn to be."""

import torch
from jaxtyping import Float
from torch import Tensor

from dsformer.format.form import Form
from dsformer.format.precision import Precision
from dsformer.format.quantized import integer_bounds, step_sizes

# Optimizer steps between two looks at how far numbers reach.
EVERY = 16


def block_steps(
    form: Form, order: Tensor, precision: Precision
) -> tuple[Float[Tensor, "units kept"], Float[Tensor, "atoms width"]]:
    """Steps of a block's values and dictionary as training has them: units in the weight's order, an atom a row."""
    values, dictionary = step_sizes(form, precision)
    dictionary = dictionary if form.spec.orientation == "input" else dictionary.T.contiguous()
    return torch.empty_like(values).index_copy_(0, order, values), dictionary


def fake_quantize(numbers: Float[Tensor, "rows columns"], step: Float[Tensor, "rows columns"], bits: int) -> Tensor:
    """Numbers to the nearest multiple of their steps; gradients pass as if nothing had happened (straight-through)."""
    low, high = integer_bounds(bits)
    with torch.no_grad():
        whole = torch.where(step != 0, numbers / step, torch.zeros_like(numbers)).round().clamp(low, high)
        change = whole * step - numbers
    return numbers + change
