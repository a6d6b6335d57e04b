"""The metric a weight is fitted in: the second moment of the layer's real inputs, and how much its outputs matter."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsformer.errors import InputError


@dataclass(frozen=True)
class Metric:
    """``gram = factor @ factor.T``, scaled to mean diagonal 1, ridge included.

    The error of an approximation is ``‖(W - Ŵ) factor‖_F``: the error of the layer's outputs on the calibration text.
    With a metric of the outputs, ``‖output.factorᵀ (W - Ŵ) factor‖_F``: the error of what the model makes of them, to
    second order and with the two sides taken for independent (K-FAC, Martens and Grosse, arXiv 1503.05671).

    Attributes:
        output: of the layer's outputs (out, out); None: all matter alike.
    """

    gram: Float[Tensor, "in in"]
    factor: Float[Tensor, "in in"]
    output: "Metric | None" = None

    @property
    def curved(self) -> bool:
        """Whether outputs have a metric."""
        return self.output is not None

    @classmethod
    def from_gram(cls, gram: Float[Tensor, "in in"], ridge: float = 1e-3, output: "Metric | None" = None) -> "Metric":
        """Normalise a Gram matrix ``XᵀX`` of inputs and add a ridge, relative to the mean diagonal.

        Raises:
            InputError: the Gram matrix has NaN or Inf, or is all zero, or the ridge is too small for it.
        """
        gram = gram.double()
        scale = gram.diagonal().mean()
        if not torch.isfinite(gram).all() or scale <= 0:
            raise InputError("calibration gave a zero or non-finite input to a layer; check the text and the weights")
        gram = gram / scale + ridge * torch.eye(len(gram), dtype=gram.dtype)
        try:
            factor = torch.linalg.cholesky(gram)
        except torch.linalg.LinAlgError:
            raise InputError(f"ridge: {ridge:g} is too small for a layer whose inputs have fewer directions") from None
        return cls(gram.float(), factor.float(), output)

    def reordered(self, order: Int[Tensor, " in"]) -> "Metric":
        """The metric after the inputs changed places."""
        gram = self.gram[order][:, order].double()
        return Metric(gram.float(), torch.linalg.cholesky(gram).float(), self.output)

    def weighed(self, difference: Float[Tensor, "out in"]) -> Float[Tensor, "out in"]:
        """A difference of weights in coordinates in which its norm is the error."""
        whitened = difference @ self.factor
        return whitened if self.output is None else self.output.factor.T @ whitened

    @classmethod
    def identity(cls, size: int) -> "Metric":
        """The plain Frobenius metric, for tables whose inputs are one-hot."""
        eye = torch.eye(size)
        return cls(eye, eye)


# Largest weights whose outputs have a metric, and the ridge added to it, relative to its mean diagonal: it is measured
# on few texts, and what no text depends on now may matter once other layers have changed.
LARGEST_CURVED, OUTPUT_RIDGE = (8192, 1536), 0.1


def linear_metric(inputs: Float[Tensor, "in in"], outputs: Float[Tensor, "out out"] | None, ridge: float) -> Metric:
    """Build the metric of a linear layer (K-FAC) from what was measured on real text.

    Args:
        inputs: second moment of the layer's inputs.
        outputs: second moment of the loss's gradient with respect to its outputs; None: all outputs count the same.
        ridge: added to ``inputs``, relative to its mean diagonal.

    Raises:
        InputError: ``inputs`` are zero or not finite.
    """
    output = None
    if outputs is not None and float(outputs.trace()) > 0:
        shape = (len(outputs), len(inputs))
        if max(shape) <= LARGEST_CURVED[0] and min(shape) <= LARGEST_CURVED[1]:
            output = Metric.from_gram(outputs, OUTPUT_RIDGE)
    return Metric.from_gram(inputs, ridge, output)
