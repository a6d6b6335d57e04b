"""Gram matrices in which a token counts by how much the model's output depends on what a layer says at that token.

A classifier reads one token of its last layer: errors at the others do not matter there. With ``δ_t`` the gradient of a
random projection of the output by the layer's output at token ``t``, the Gram matrix is ``Σ_t ‖δ_t‖² x_t x_tᵀ``: the
Kronecker-factored curvature of the output (K-FAC, Martens and Grosse, arXiv 1503.05671), its output side traced out.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dsformer.calibration.blocks import Block, hooked

# Part of a token's weight that is the same for all: what did not matter before compression may matter after it.
EVEN = 0.1


def weighted_grams(
    model: nn.Module, batches: Iterable[Mapping[str, Tensor]], blocks: Sequence[Block]
) -> dict[str, Float[Tensor, "in in"]]:
    """Per block name, the weighted second moment of its inputs over all tokens and uses, float64. No labels needed."""
    grams: dict[str, Tensor] = {}
    calls: list[tuple[Block, int, Tensor, Tensor]] = []

    def hook(block: Block, member: int):
        def keep(_module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
            calls.append((block, member, args[0].detach(), output))

        return keep

    def begin(_module: nn.Module, _args: Any, output: Tensor) -> Tensor:
        return output.requires_grad_() if output.is_leaf else output

    handles = [m.register_forward_hook(hook(block, i)) for block in blocks for i, m in enumerate(block.modules)]
    handles += [m.register_forward_hook(begin) for m in model.modules() if isinstance(m, nn.Embedding)]
    trained = [p for p in model.parameters() if p.requires_grad]
    generator = torch.Generator().manual_seed(0)
    try:
        for p in trained:
            p.requires_grad_(False)
        with hooked(handles), torch.enable_grad():
            for batch in batches:
                calls.clear()
                output = _real(model(**batch)[0].float(), batch.get("attention_mask"))
                signs = torch.randint(0, 2, output.shape, generator=generator).to(output) * 2 - 1
                outputs = [call[3] for call in calls]
                gradients = torch.autograd.grad((output * signs).sum(), outputs, allow_unused=True)
                _add(grams, calls, gradients, batch.get("attention_mask"))
    finally:
        for p in trained:
            p.requires_grad_()
    return grams


def _add(
    grams: dict[str, Tensor],
    calls: Sequence[tuple[Block, int, Tensor, Tensor]],
    gradients: Sequence[Tensor | None],
    mask: Tensor | None,
) -> None:
    """Add one batch, every use of a block with the weights of all its members together."""
    uses: dict[tuple[str, int], tuple[Tensor, Tensor]] = {}
    seen: dict[tuple[str, int], int] = {}
    for (block, member, x, _), gradient in zip(calls, gradients, strict=True):
        use = seen.get((block.name, member), 0)
        seen[block.name, member] = use + 1
        size = x.new_zeros(x.shape[:-1]) if gradient is None else gradient.float().square().sum(-1)
        before = uses.get((block.name, use))
        uses[block.name, use] = (x, size if before is None else before[1] + size)
    for (name, _), (x, size) in uses.items():
        rows, weight = _real(x, mask).reshape(-1, x.shape[-1]).float(), _real(size, mask).reshape(-1)
        weight = EVEN + (1 - EVEN) * weight / weight.mean().clamp_min(1e-30)
        grams[name] = grams.get(name, torch.zeros(())) + ((rows * weight[:, None]).T @ rows).double()


def _real(values: Tensor, mask: Tensor | None) -> Tensor:
    return values[mask.bool()] if mask is not None and values.shape[:2] == mask.shape else values
