"""Layers that can be replaced by other modules: some models read a layer's weight instead of calling the layer."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from dsformer.calibration.symmetry import SAME
from dsformer.calibration.trace import Block, Tracing, weight_of
from dsformer.errors import InputError
from dsformer.nn.modules import replace_modules


def keep_replaceable(model: nn.Module, batch: Mapping[str, Any], tracing: Tracing, rounded: bool = False) -> Tracing:
    """Leave out blocks whose weights the model's own code reads, or whose class it checks.

    They are found by trying: stand-ins compute the same, but have the class and the weight of compressed layers. With
    them the model's outputs must not change.

    Args:
        model: as it was traced.
        batch: to run.
        tracing: of the model.
        rounded: compressed weights will be integers.

    Returns:
        The tracing; names of what was left out are its ``read``.

    Raises:
        InputError: no block remains, or the remaining ones cannot be replaced together.
    """
    expected = _said(model, batch)

    def same(blocks: Sequence[Block]) -> bool:
        with _standing_in(model, blocks, rounded):
            try:
                found = _said(model, batch)
            except Exception:  # whatever a model raises that misses the weight it looks for
                return False
        return len(found) == len(expected) and all(map(_alike, found, expected))

    if same(tracing.blocks + tracing.tables):
        return tracing
    read = {block.name for block in (*tracing.blocks, *tracing.tables) if not same([block])}
    kept = replace(
        tracing,
        blocks=[block for block in tracing.blocks if block.name not in read],
        tables=[table for table in tracing.tables if table.name not in read],
        read=[name for block in (*tracing.blocks, *tracing.tables) if block.name in read for name in block.names],
    )
    if not kept.blocks:
        raise InputError("the model's code reads the weights of all its linear layers: none can be compressed")
    if not same(kept.blocks + kept.tables):
        raise InputError("the model's code reads weights of its layers together: it cannot be compressed")
    return kept


def _said(model: nn.Module, batch: Mapping[str, Any]) -> list[Tensor]:
    """Run the model and return all its floating-point outputs; random numbers are the same every time."""
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        outputs = model(**batch)
    values = outputs.values() if isinstance(outputs, Mapping) else outputs
    return [value for value in values if isinstance(value, Tensor) and value.is_floating_point()]


def _alike(found: Tensor, expected: Tensor) -> bool:
    """Return whether an output is the expected one, up to the tolerance ``SAME``."""
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return False
    finite = expected.isfinite()
    if not torch.equal(finite, found.isfinite()):
        return False
    apart, scale = (found - expected)[finite], expected[finite].abs()
    return not len(apart) or bool(apart.abs().max() <= SAME * scale.max())


@contextmanager
def _standing_in(model: nn.Module, blocks: Sequence[Block], rounded: bool) -> Iterator[None]:
    """Replace the layers of some blocks by stand-ins inside the context."""
    new: dict[nn.Module, nn.Module] = {}
    for block in blocks:
        for module in (*block.modules, *map(model.get_submodule, block.tied)):
            new[module] = _StandIn(module, block.kind == "embedding", rounded)
    replace_modules(model, new)
    try:
        yield
    finally:
        replace_modules(model, {other: module for module, other in new.items()})


class _StandIn(nn.Module):
    """Computes what a layer does, and looks like a compressed one from outside."""

    def __init__(self, layer: nn.Module, table: bool, rounded: bool):
        super().__init__()
        # In a tuple, so that it is not registered as a submodule.
        self._layer = (layer,)
        weight = weight_of(layer).detach()
        seen = weight[:, : weight.shape[1] // 2] if table else weight.reshape(-1)
        if rounded:
            seen = torch.zeros(len(seen), *seen.shape[1:2], dtype=torch.int8)
        self.weight = nn.Parameter(seen, requires_grad=False)
        self.bias = getattr(layer, "bias", None)
        for name in ("in_features", "out_features", "num_embeddings", "embedding_dim", "padding_idx", "nf", "nx"):
            if name in layer.__dict__:
                setattr(self, name, getattr(layer, name))
        self.train(layer.training)

    def forward(self, x: Tensor) -> Tensor:
        return self._layer[0](x)
