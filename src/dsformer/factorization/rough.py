"""Products that need not be exact, such as those of a step whose error is seen, and taken back, in the next one."""

import torch
from jaxtyping import Float
from torch import Tensor

from dsformer.hardware import fast_bf16


def rough(matrix: Float[Tensor, "rows columns"]) -> Float[Tensor, "rows columns"]:
    """A factor of such products, in the type that is multiplied fastest here: bfloat16 keeps 2 to 3 digits."""
    return matrix.to(torch.bfloat16) if fast_bf16() else matrix
