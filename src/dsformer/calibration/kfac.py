"""Gram matrices in which tokens and outputs count by how much the model's output depends on them.

A classifier reads one token of its last layer: errors at the others do not matter there, and of those at that token the
ones that no logit depends on. With ``δ_t`` the gradient of a random projection of the output by what a block says at
token ``t``, the Gram matrices are ``Σ_t ‖δ_t‖² x_t x_tᵀ`` of the inputs and ``Σ_t δ_t δ_tᵀ`` of the outputs: the
Kronecker-factored curvature of the output (K-FAC, Martens and Grosse, arXiv 1503.05671). Weights are relative to the
mean of their text, so that no few texts of unusual slope stand for all.
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

# Part of a token's weight that is the same for all: what did not matter before compression may matter after it.
EVEN = 0.1
_HEADS = ("logits", "start_logits", "end_logits")


@dataclass
class _Call:
    """One use of one of a block's layers.

    Attributes:
        version: of the inputs when they were read; another one later says that the model has changed them in place.
        shape: of the outputs.
        edge: where the gradient by the outputs is to be had, whatever is done to them in place.
    """

    block: str
    member: int
    inputs: Float[Tensor, "batch *time in"]
    version: int
    shape: torch.Size
    edge: GradientEdge


def uses_kfac(model: nn.Module, batch: Mapping[str, Tensor], weighting: str) -> bool:
    """Whether tokens and outputs count by their influence: ``auto`` says so of all models but those with an output of
    their head for every token and word, as language models have."""
    if weighting != "auto":
        return weighting == "influence"
    with torch.no_grad():
        outputs = model(**batch)
    heads = [outputs[name] for name in _HEADS if name in outputs]
    return not heads or any(head.ndim == 2 for head in heads)


def collect_kfac_factors(
    model: nn.Module, batches: Iterable[Mapping[str, Tensor]], blocks: Sequence[Block], seed: int = 0
) -> tuple[dict[str, Float[Tensor, "_in _in"]], dict[str, Float[Tensor, "_out _out"]]]:
    """Per block name, over all tokens and uses, the weighted second moment of its inputs, and that of the gradient by
    its outputs, float64. Needs no labels.

    Args:
        seed: of the random projections.
    """
    grams: dict[str, Tensor] = {}
    output_grams: dict[str, Tensor] = {}
    calls: list[_Call] = []

    copied: set[str] = set()

    def keep(block: Block, member: int):
        def hook(_module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
            # What depends on no embedding that was looked up, such as DeBERTa's relative positions, starts here.
            edge, output = _rooted(output)
            inputs = args[0].detach().clone() if block.name in copied else args[0].detach()
            calls.append(_Call(block.name, member, inputs, inputs._version, output.shape, edge))
            return output

        return hook

    def root(_module: nn.Module, _args: Any, output: Any) -> Any:
        # ProphetNet's tables of positions say which positions they looked up, too.
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
                if read.requires_grad:  # else no gradient gets through, as where a model rounds what it computes
                    gradients = torch.autograd.grad(read, [call.edge for call in calls], allow_unused=True)
                _add(grams, output_grams, calls, gradients, batch.get("attention_mask"))
    finally:
        for parameter in trained:
            parameter.requires_grad_()
    return grams, output_grams


def _rooted(output: Tensor) -> tuple[GradientEdge, Tensor]:
    """Where the gradient by a tensor is to be had, and what the model may have: a leaf cannot be changed in place."""
    if not output.is_leaf:
        return get_gradient_edge(output), output
    return get_gradient_edge(output.requires_grad_()), output.clone()


def _projected(outputs: Any, mask: Tensor | None, generator: torch.Generator) -> Float[Tensor, ""]:
    """Random signs times what the model says: its logits, or else its first output, at real tokens."""
    found = {name: outputs[name] for name in _HEADS if name in outputs} or {"": outputs[0]}
    total = torch.zeros(())
    for name, output in found.items():
        # Starts and ends of answers are a number for every token, the logits of a classifier one for every class.
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
    """Add one batch; layers of a block have read the same inputs, which count by the gradients of all of them."""
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
    """Every use of every block: its name, what it read, and the gradients by the outputs of all its layers."""
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
    """Mean over the real tokens of every text (over all, where inputs have no time)."""
    along = tuple(range(1, size.ndim)) or (0,)
    return (size * real).sum(along, keepdim=True) / real.sum(along, keepdim=True).clamp_min(1)
