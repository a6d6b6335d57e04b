"""Second moments of every block's inputs, and the number of lookups of every token."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dsformer.calibration.trace import Block, hooked
from dsformer.errors import InputError


@dataclass
class Statistics:
    """What calibration measured.

    Attributes:
        grams: by block name, ``XᵀX`` over all tokens (and all calls of the block), float64.
        output_grams: by block name, the second moment of the gradient of the model's output by the block's outputs;
            empty unless tokens are weighted by their influence.
        counts: by table name, the number of lookups of each row.
        tokens: tokens seen, without padding.
    """

    grams: dict[str, Float[Tensor, "_in _in"]] = field(default_factory=dict)
    output_grams: dict[str, Float[Tensor, "_out _out"]] = field(default_factory=dict)
    counts: dict[str, Int[Tensor, " _rows"]] = field(default_factory=dict)
    tokens: int = 0


def collect_second_moments(
    model: nn.Module,
    batches: Iterable[Mapping[str, Tensor]],
    blocks: Sequence[Block],
    tables: Sequence[Block],
) -> Statistics:
    """Run the batches and accumulate the statistics.

    Args:
        model: compressed or dense, in evaluation mode.
        batches: the calibration text.
        blocks: linear blocks, whose inputs are measured.
        tables: embedding tables whose lookups are counted.

    Raises:
        InputError: a layer's inputs are NaN or Inf.
    """
    seen = Statistics()
    mask: Tensor | None = None

    def gram_hook(name: str):
        def add(_module: nn.Module, args: tuple[Any, ...]) -> None:
            x = select_real_tokens(args[0].detach(), mask).reshape(-1, args[0].shape[-1]).float()
            add_gram(seen.grams, name, x)

        return add

    def count_hook(name: str, rows: int):
        seen.counts[name] = torch.zeros(rows, dtype=torch.long)

        def add(_module: nn.Module, args: tuple[Any, ...]) -> None:
            ids = args[0].detach()
            ids = ids[mask] if mask is not None and ids.shape == mask.shape else ids.flatten()
            seen.counts[name] += torch.bincount(ids.flatten(), minlength=rows)

        return add

    handles = [block.modules[0].register_forward_pre_hook(gram_hook(block.name)) for block in blocks]
    for table in tables:
        # T5's `shared` never runs; the tables of encoder and decoder, which are tied to it, do.
        alike = [*table.modules, *(m for m in map(model.get_submodule, table.tied) if isinstance(m, nn.Embedding))]
        hook = count_hook(table.name, table.shape[0])
        handles += [module.register_forward_pre_hook(hook) for module in alike]
    with hooked(handles), torch.no_grad():
        for batch in batches:
            attention = batch.get("attention_mask")
            mask = attention.bool() if attention is not None else None
            seen.tokens += count_real_tokens(batch)
            model(**batch)
    require_finite(seen.grams)
    return seen


def add_gram(grams: dict[str, Float[Tensor, "_width _width"]], name: str, rows: Float[Tensor, "tokens width"]) -> None:
    """Add ``rowsᵀ rows`` to a Gram matrix in float64, in place.

    The product is added without a copy in float64, which would take as long as the product of a batch.

    Args:
        grams: by name; changed in place.
        name: of the matrix; added if it is missing.
        rows: a row for every token.
    """
    product = rows.T @ rows
    if name in grams:
        grams[name].add_(product)
    else:
        grams[name] = product.double()


def select_real_tokens(
    values: Float[Tensor, "*batch features"], mask: Tensor | None
) -> Float[Tensor, "*real features"]:
    """Select the values of real tokens, without padding.

    Values that are not of (batch, time, features) are returned as they are, and so are all values without a mask.
    """
    timed = mask is not None and values.ndim > 2 and values.shape[:2] == mask.shape
    return values[mask.bool()] if mask is not None and timed else values


def count_real_tokens(batch: Mapping[str, Tensor]) -> int:
    """Count the tokens of a batch, without padding."""
    mask = batch.get("attention_mask")
    return int(mask.sum()) if mask is not None else batch["input_ids"].numel()


def require_finite(grams: Mapping[str, Float[Tensor, "_in _in"]]) -> None:
    """Check that all Gram matrices are finite.

    Raises:
        InputError: names the first layer whose inputs are NaN or Inf.
    """
    for name, gram in grams.items():
        if not torch.isfinite(gram).all():
            raise InputError(
                f"{name}: its inputs are NaN or Inf on the calibration text; the model's weights are broken"
            )
