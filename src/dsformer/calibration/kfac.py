"""K-FAC statistics: Gram matrices weighted by how much the model's output depends on each token and output.

A classifier reads one token of its last layer: errors at the other tokens do not matter there, nor do errors at that
token on which no logit depends. With ``δ_t`` the gradient of a random projection of the model's output by a block's
output at token ``t``, the Gram matrices are ``Σ_t ‖δ_t‖² x_t x_tᵀ`` of the inputs and ``Σ_t δ_t δ_tᵀ`` of the outputs:
the Kronecker-factored curvature of the output (K-FAC, Martens and Grosse, arXiv 1503.05671). Weights are relative to
the mean of their text, so that a few texts with unusual gradients do not dominate.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from dsformer.calibration.second_moments import add_gram, select_real_tokens
from dsformer.calibration.trace import Block, hooked

# Fraction of a token's weight that is the same for all: what did not matter before compression may matter after it.
EVEN = 0.1
_HEADS = ("logits", "start_logits", "end_logits")


@dataclass
class _Call:
    """One call of one of a block's layers.

    Attributes:
        block: the block's name.
        member: index of the layer in the block.
        inputs: what the layer read.
        version: of the inputs when they were read; another one later means that the model has changed them in place.
        shape: of the outputs.
        edge: where autograd gives the gradient by the outputs, even if they are changed in place.
    """

    block: str
    member: int
    inputs: Float[Tensor, "batch *time in"]
    version: int
    shape: torch.Size
    edge: GradientEdge


def uses_kfac(model: nn.Module, batch: Mapping[str, Tensor], weighting: str) -> bool:
    """Return whether tokens and outputs are weighted by their influence.

    With ``auto`` they are, unless the model's head has several outputs for every token, as language models have.

    Args:
        model: run once with ``auto``.
        batch: to run.
        weighting: ``even``, ``influence`` or ``auto``.
    """
    if weighting != "auto":
        return weighting == "influence"
    with torch.no_grad():
        outputs = model(**batch)
    heads = [outputs[name] for name in _HEADS if name in outputs]
    return not heads or any(head.ndim == 2 for head in heads)


def collect_kfac_factors(
    model: nn.Module, batches: Iterable[Mapping[str, Tensor]], blocks: Sequence[Block], seed: int = 0
) -> tuple[dict[str, Float[Tensor, "_in _in"]], dict[str, Float[Tensor, "_out _out"]]]:
    """Accumulate both Kronecker factors of every block over all tokens and calls, in float64. No labels are needed.

    Args:
        model: dense.
        batches: the calibration text.
        blocks: to measure.
        seed: of the random projections.

    Returns:
        By block name, the weighted second moment of the inputs, and the second moment of the gradient by the outputs.
    """
    grams: dict[str, Tensor] = {}
    output_grams: dict[str, Tensor] = {}
    calls: list[_Call] = []

    copied: set[str] = set()

    def keep(block: Block, member: int):
        def hook(_module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
            # Outputs that depend on no looked-up embedding, such as DeBERTa's relative positions, are leaves: their
            # graph starts here.
            edge, output = _rooted(output)
            inputs = args[0].detach().clone() if block.name in copied else args[0].detach()
            calls.append(_Call(block.name, member, inputs, inputs._version, output.shape, edge))
            return output

        return hook

    def root(_module: nn.Module, _args: Any, output: Any) -> Any:
        # ProphetNet's position tables also return the positions they looked up.
        if not isinstance(output, Tensor):
            return type(output)(root(_module, _args, one) if isinstance(one, Tensor) else one for one in output)
        return _rooted(output)[1] if output.is_floating_point() else output

    def run(batch: Mapping[str, Tensor]) -> Any:
        while True:
            calls.clear()
            outputs = model(**batch)
            changed = {call.block for call in calls if call.inputs._version != call.version}
            if not changed:
                return outputs
            copied.update(changed)

    handles = [m.register_forward_hook(keep(block, i)) for block in blocks for i, m in enumerate(block.modules)]
    handles += [m.register_forward_hook(root) for m in model.modules() if isinstance(m, nn.Embedding)]
    generator = torch.Generator().manual_seed(seed)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        for parameter in trained:
            parameter.requires_grad_(False)
        with hooked(handles), torch.enable_grad():
            for batch in batches:
                read = _projected(run(batch), batch.get("attention_mask"), generator)
                gradients: Sequence[Tensor | None] = [None] * len(calls)
                if read.requires_grad:  # else there is no gradient, as where a model rounds what it computes
                    gradients = torch.autograd.grad(read, [call.edge for call in calls], allow_unused=True)
                _add(grams, output_grams, calls, gradients, batch.get("attention_mask"))
    finally:
        for parameter in trained:
            parameter.requires_grad_()
    return grams, output_grams


def _rooted(output: Tensor) -> tuple[GradientEdge, Tensor]:
    """Return the gradient edge of a tensor, and the tensor for the model to use: a leaf cannot be changed in place."""
    if not output.is_leaf:
        return get_gradient_edge(output), output
    return get_gradient_edge(output.requires_grad_()), output.clone()


def _projected(outputs: Any, mask: Tensor | None, generator: torch.Generator) -> Float[Tensor, ""]:
    """Project the model's output at real tokens (its logits, or else its first output) on random signs."""
    found = {name: outputs[name] for name in _HEADS if name in outputs} or {"": outputs[0]}
    total = torch.zeros(())
    for name, output in found.items():
        # Start and end logits are one number for every token, the logits of a classifier one for every class.
        values = select_real_tokens((output if name in ("", "logits") else output[..., None]).float(), mask)
        signs = torch.randint(0, 2, values.shape, generator=generator).to(values) * 2 - 1
        total = total + (values * signs).sum()
    return total


def _add(
    grams: dict[str, Tensor],
    output_grams: dict[str, Tensor],
    calls: Sequence[_Call],
    gradients: Sequence[Tensor | None],
    mask: Tensor | None,
) -> None:
    """Add one batch to the Gram matrices.

    Layers of a block have read the same inputs, which are weighted by the gradients of all of them.
    """
    for block, inputs, slopes in _uses(calls, gradients):
        size = slopes.square().sum(-1)
        real = mask.bool() if mask is not None and mask.shape == size.shape else torch.ones_like(size, dtype=torch.bool)
        mean = _mean(size, real)
        weight = torch.where(mean > 0, EVEN + (1 - EVEN) * size / mean.clamp_min(1e-30), torch.ones_like(size))
        rows = inputs[real].float() * weight[real].sqrt()[:, None]
        add_gram(grams, block, rows)
        rows = (slopes / mean.clamp_min(1e-30).sqrt()[..., None])[real]
        add_gram(output_grams, block, rows)


def _uses(
    calls: Sequence[_Call], gradients: Sequence[Tensor | None]
) -> Iterator[tuple[str, Float[Tensor, "batch *time in"], Float[Tensor, "batch *time out"]]]:
    """Yield every call of every block: its name, its inputs, and the gradients by the outputs of all its layers."""
    found: dict[tuple[str, int], list[tuple[_Call, Tensor]]] = {}
    seen: dict[tuple[str, int], int] = {}
    for call, gradient in zip(calls, gradients, strict=True):
        use = seen.get((call.block, call.member), 0)
        seen[call.block, call.member] = use + 1
        slope = call.inputs.new_zeros(call.shape) if gradient is None else gradient
        found.setdefault((call.block, use), []).append((call, slope.detach().float()))
    for (block, _), members in found.items():
        members.sort(key=lambda one: one[0].member)
        yield block, members[0][0].inputs, torch.cat([slope for _, slope in members], -1)


def _mean(size: Float[Tensor, "*batch"], real: Bool[Tensor, "*batch"]) -> Float[Tensor, "*mean"]:
    """Compute the mean over the real tokens of every text, or over all rows where inputs have no time axis."""
    along = tuple(range(1, size.ndim)) or (0,)
    return (size * real).sum(along, keepdim=True) / real.sum(along, keepdim=True).clamp_min(1)
