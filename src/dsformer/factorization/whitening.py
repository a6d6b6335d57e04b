"""The metric a weight is fitted in: the second moment of the layer's real inputs."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsformer.errors import InputError


@dataclass(frozen=True)
class Metric:
    """``gram = factor @ factor.T``, scaled to mean diagonal 1, ridge included.

    The error of an approximation is ``‖(W - Ŵ) factor‖_F``: the error of the layer's outputs on the calibration text.
    """

    gram: Float[Tensor, "in in"]
    factor: Float[Tensor, "in in"]

    @classmethod
    def from_gram(cls, gram: Float[Tensor, "in in"], ridge: float = 1e-3) -> "Metric":
        """Normalise a Gram matrix ``XᵀX`` of inputs and add a ridge, relative to the mean diagonal.

        Raises:
            InputError: the Gram matrix has NaN or Inf, or is all zero.
        """
        gram = gram.double()
        scale = gram.diagonal().mean()
        if not torch.isfinite(gram).all() or scale <= 0:
            raise InputError("calibration gave a zero or non-finite input to a layer; check the text and the weights")
        gram = gram / scale + ridge * torch.eye(len(gram), dtype=gram.dtype)
        return cls(gram.float(), torch.linalg.cholesky(gram).float())

    def reordered(self, order: Int[Tensor, " in"]) -> "Metric":
        """The metric after the inputs changed places."""
        gram = self.gram[order][:, order].double()
        return Metric(gram.float(), torch.linalg.cholesky(gram).float())

    @classmethod
    def identity(cls, size: int) -> "Metric":
        """The plain Frobenius metric, for tables whose inputs are one-hot."""
        eye = torch.eye(size)
        return cls(eye, eye)
