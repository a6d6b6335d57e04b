"""The metric in which a weight is fitted (K-FAC): second moments of its inputs and of the gradient at its outputs."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsformer.errors import InputError


@dataclass(frozen=True)
class Metric:
    """Quadratic metric of the error of a weight, with ``gram = factor @ factor.T``.

    The error of an approximation Ŵ is ``‖(W - Ŵ) factor‖_F``: the error of the layer's outputs on the calibration text.
    With a metric of the outputs it is ``‖output.factorᵀ (W - Ŵ) factor‖_F``: the error of the model's output, to second
    order and with the two sides taken to be independent (K-FAC, Martens and Grosse, arXiv 1503.05671).

    Attributes:
        gram: second moment of the inputs, scaled to mean diagonal 1, with a ridge added.
        factor: its lower Cholesky factor.
        output: metric of the layer's outputs (out, out); None: all outputs count the same.
    """

    gram: Float[Tensor, "in in"]
    factor: Float[Tensor, "in in"]
    output: "Metric | None" = None

    @property
    def curved(self) -> bool:
        """Whether the outputs have a metric."""
        return self.output is not None

    @classmethod
    def from_gram(cls, gram: Float[Tensor, "in in"], ridge: float = 1e-3, output: "Metric | None" = None) -> "Metric":
        """Build a metric from a Gram matrix ``XᵀX``: scale it to mean diagonal 1, then add a ridge.

        Args:
            gram: Gram matrix at any scale.
            ridge: added to the diagonal, relative to the mean diagonal.
            output: metric of the layer's outputs, if they have one.

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
        """Return the metric after a permutation of the inputs: input ``order[i]`` moves to place i."""
        gram = self.gram[order][:, order].double()
        return Metric(gram.float(), torch.linalg.cholesky(gram).float(), self.output)

    def weighed(self, difference: Float[Tensor, "out in"]) -> Float[Tensor, "out in"]:
        """Map a difference of weights to coordinates in which its Frobenius norm is the error."""
        whitened = difference @ self.factor
        return whitened if self.output is None else self.output.factor.T @ whitened

    @classmethod
    def identity(cls, size: int) -> "Metric":
        """Return the plain Frobenius metric of ``size`` inputs, for embedding tables, whose inputs are one-hot."""
        eye = torch.eye(size)
        return cls(eye, eye)


# Largest weights (longer side, shorter side) whose outputs have a metric, and the ridge added to that metric, relative
# to its mean diagonal. It is measured on few texts. Outputs that no text depends on now may matter once other layers
# have changed.
LARGEST_CURVED, OUTPUT_RIDGE = (8192, 1536), 0.1


def linear_metric(inputs: Float[Tensor, "in in"], outputs: Float[Tensor, "out out"] | None, ridge: float) -> Metric:
    """Build the metric of a linear layer (K-FAC) from second moments measured on real text.

    Weights larger than ``LARGEST_CURVED`` get no metric of the outputs.

    Args:
        inputs: second moment of the layer's inputs, at any scale.
        outputs: second moment of the gradient at the layer's outputs, of a random projection of the model's output;
            None: all outputs count the same.
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
