"""GPTQ quantization of factors, which minimizes the change of the layers' outputs on real text."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dsformer.calibration.second_moments import collect_second_moments
from dsformer.calibration.trace import Block
from dsformer.factorization.gptq import quantize_gptq, quantize_gptq_by_input
from dsformer.factorization.search import Fitted
from dsformer.factorization.target import Target
from dsformer.format.form import Form
from dsformer.format.precision import Precision
from dsformer.format.quantized import QuantizedForm
from dsformer.format.schema import BlockConfig
from dsformer.nn.replace import quantize_factors


def quantize_fitted(fitted: Fitted, weight: Target, precision: Precision) -> Fitted:
    """Quantize a fitted form (GPTQ) and measure its error anew.

    Args:
        fitted: with floating-point factors.
        weight: the block's weight and metric.
        precision: bits of the integers.
    """
    assert isinstance(fitted.form, Form)
    form = quantize_gptq(fitted.form, weight.metric.gram, precision)
    return Fitted(form, weight.error(form), fitted.tried)


def quantize_model(
    model: nn.Module, blocks: Sequence[BlockConfig], batches: Sequence[Mapping[str, Tensor]], precision: Precision
) -> list[BlockConfig]:
    """Quantize the factors of a compressed model in place (GPTQ).

    Args:
        model: compressed.
        blocks: its blocks.
        batches: run through the model to measure the inputs of its layers.
        precision: bits of the integers.

    Returns:
        The blocks with their new precision.
    """
    reading = [(block.kind, members) for block in blocks if block.kind != "embedding" for members in block.readers]
    names = [(kind, tuple(member.name for member in members)) for kind, members in reading]
    read = [Block(kind, own, tuple(map(model.get_submodule, own))) for kind, own in names]
    grams = collect_second_moments(model.eval(), batches, read, []).grams

    def rounder(block: BlockConfig, form: Form) -> QuantizedForm:
        own = [_scaled(grams.get(members[0].name), form.spec.in_features) for members in block.readers]
        return quantize_gptq_by_input(
            form, own, [sum(m.out_features for m in members) for members in block.readers], precision
        )

    return quantize_factors(model, blocks, rounder)


def _scaled(gram: Float[Tensor, "in in"] | None, size: int) -> Float[Tensor, "in in"]:
    """Scale a Gram matrix to a mean diagonal of 1, for float32; inputs of tables, without one, have the identity."""
    return torch.eye(size) if gram is None else (gram / gram.diagonal().mean().clamp_min(1e-30)).float()
