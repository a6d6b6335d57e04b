"""Tracing: finds the blocks of a model by running it once, without a table of architectures."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from dsformer.errors import InputError
from dsformer.format.schema import LayerKind
from dsformer.nn.modules import is_linear

# Layers with a side below this are too small for a dictionary and stay dense (classification heads).
SMALLEST_SIDE = 32
# Tables with fewer rows per column than this (positions, token types) are too small for a dictionary to pay.
TABLE_ASPECT = 4


@dataclass(frozen=True)
class Block:
    """Linear layers that read the same input tensor, or one embedding table; or several such that share a dictionary.

    Attributes:
        kind: type of the layers.
        names: module names in order of use; the first one names the block.
        modules: the modules themselves.
        tied: for a table, names of the other modules (LM heads, a decoder's table) whose weight is this very tensor.
        inputs: where layers read several inputs, the number of layers that read each, in order; empty: one input.
    """

    kind: LayerKind
    names: tuple[str, ...]
    modules: tuple[nn.Module, ...]
    tied: tuple[str, ...] = ()
    inputs: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """The block's name, that of its first module."""
        return self.names[0]

    @property
    def members(self) -> tuple[int, ...]:
        """Output features (or rows of the table) of every layer."""
        return tuple(weight_of(module).shape[0] for module in self.modules)

    def beside(self, other: "Block") -> "Block":
        """Stack this block on another one."""
        inputs = (len(self.names), len(other.names))
        return replace(self, names=self.names + other.names, modules=self.modules + other.modules, inputs=inputs)

    def weight(self) -> Float[Tensor, "out in"]:
        """Return the stacked weight as float32."""
        return torch.cat([weight_of(module).detach().float() for module in self.modules])

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the stacked weight."""
        return sum(self.members), weight_of(self.modules[0]).shape[1]

    @property
    def biases(self) -> list[Tensor]:
        """The biases of its layers that have one."""
        return [bias for module in self.modules if isinstance(bias := getattr(module, "bias", None), Tensor)]

    @property
    def bias_count(self) -> int:
        """Number of bias values."""
        return sum(bias.numel() for bias in self.biases)


@dataclass(frozen=True)
class Tracing:
    """What one traced batch showed.

    Attributes:
        blocks: linear blocks in order of first use.
        tables: embedding tables large enough to factorize.
        silent: linear layers that never ran, left dense.
        small: linear layers too small to factorize, left dense.
        excluded: layers left dense on request.
        read: layers left dense because the model's code reads their weights.
        shared: layers left dense because other modules have the same weight.
    """

    blocks: list[Block]
    tables: list[Block]
    silent: list[str] = field(default_factory=list)
    small: list[str] = field(default_factory=list)
    excluded: list[str] = field(default_factory=list)
    read: list[str] = field(default_factory=list)
    shared: list[str] = field(default_factory=list)


def weight_of(module: nn.Module) -> Float[Tensor, "out in"]:
    """Return the weight as (out, in); GPT-2's Conv1D stores the transpose."""
    weight = module.weight
    assert isinstance(weight, Tensor)
    return weight.T if isinstance(module, Conv1D) else weight


def trace(
    model: nn.Module,
    batch: Mapping[str, Any],
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    stacked: bool = True,
) -> Tracing:
    """Run one batch and group the linear layers whose calls all read the same tensors.

    A module called several times (ALBERT's shared layer, DeBERTa's projections) has several inputs. It is stacked only
    with modules that read exactly the same ones.

    Args:
        model: dense.
        batch: to run.
        include: glob patterns of the modules to compress; none: all.
        exclude: glob patterns of the modules to leave dense.
        stacked: stack layers that read the same tensors; otherwise every layer is a block.

    Raises:
        InputError: the model has no linear layer that ran, none remains after ``include`` and ``exclude``, or one of
            these patterns matches nothing.
    """
    linears = {name: m for name, m in model.named_modules() if is_linear(m) or type(m) is Conv1D}
    tables = {name: m for name, m in model.named_modules() if type(m) is nn.Embedding}
    if not linears:
        raise InputError(f"the model has no linear layers{_other_classes(model)}, so there is nothing to compress")
    wanted = _chosen([*linears, *tables], include, exclude)
    reads, tied = _inputs(model, linears, batch), _tied(model, linears)
    shared = _shared(model, linears | tables, tied)
    found = Tracing([], [])
    groups: dict[tuple[Any, ...], list[str]] = {}
    for name, module in linears.items():
        if name in tied:
            continue
        if name not in wanted:
            found.excluded.append(name)
        elif name in shared:
            found.shared.append(name)
        elif not reads[name]:
            found.silent.append(name)
        elif min(module.weight.shape) < SMALLEST_SIDE:
            found.small.append(name)
        else:
            groups.setdefault((type(module), *(reads[name] if stacked else [name])), []).append(name)
    for names in groups.values():
        kind: LayerKind = "conv1d" if isinstance(linears[names[0]], Conv1D) else "linear"
        found.blocks.append(Block(kind, tuple(names), tuple(linears[name] for name in names)))
    if not found.blocks:
        raise InputError(
            "no linear layer is left to compress: loosen --include / --exclude or check that the model runs"
        )
    for name, table in tables.items():
        rows, width = table.weight.shape
        alone = name not in tied and name not in shared
        if alone and name in wanted and width >= SMALLEST_SIDE and rows >= TABLE_ASPECT * width:
            heads = tuple(head for head, owner in tied.items() if owner == name)
            found.tables.append(Block("embedding", (name,), (table,), heads))
    return found


def _chosen(names: Sequence[str], include: Sequence[str], exclude: Sequence[str]) -> set[str]:
    """Return the names that the patterns choose.

    Raises:
        InputError: a pattern matches none of them.
    """
    for pattern in (*include, *exclude):
        if not any(fnmatch(name, pattern) for name in names):
            raise InputError(f"no layer fits {pattern!r} (--include, --exclude); names are such as {names[0]}")
    wanted = {name for name in names if not include or any(fnmatch(name, pattern) for pattern in include)}
    return {name for name in wanted if not any(fnmatch(name, pattern) for pattern in exclude)}


def _tied(model: nn.Module, linears: Mapping[str, nn.Module]) -> dict[str, str]:
    """Find heads and tables whose weight is that of an earlier table, with the name of that table.

    Tables that scale what is looked up (Gemma's, BART's) are not factorized, but heads are tied to them too.
    """
    tables = {name: module for name, module in model.named_modules() if isinstance(module, nn.Embedding)}
    first: dict[int, str] = {}
    for name, module in tables.items():
        first.setdefault(id(module.weight), name)
    owners = {name: first.get(id(module.weight)) for name, module in (tables | dict(linears)).items()}
    return {name: owner for name, owner in owners.items() if owner is not None and owner != name}


def _shared(model: nn.Module, modules: Mapping[str, nn.Module], tied: Mapping[str, str]) -> set[str]:
    """Return the names of modules that share their weight with a module other than heads and tables tied to theirs."""
    owners: dict[int, set[nn.Module]] = {}
    for module in model.modules():
        for tensor in module._parameters.values():
            owners.setdefault(id(tensor), set()).add(module)
    heads = {name: {modules.get(head) for head, own in tied.items() if own == name} for name in set(tied.values())}
    return {
        name
        for name, module in modules.items()
        if name not in tied and owners[id(module.weight)] - heads.get(name, set()) - {module}
    }


def _other_classes(model: nn.Module) -> str:
    """Name the classes of linear layers that are not torch's own."""
    names = sorted({type(module).__name__ for module in model.modules() if isinstance(module, nn.Linear)})
    return f" of torch's own class (its are {', '.join(names)})" if names else ""


@contextmanager
def hooked(handles: list[Any]) -> Iterator[None]:
    """Remove the hooks on leaving, whatever happens."""
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _inputs(model: nn.Module, linears: dict[str, nn.Module], batch: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Record, for each linear layer, the identity of the tensor read at each of its calls."""
    reads: dict[str, list[Any]] = {name: [] for name in linears}
    alive: list[Tensor] = []  # keeps storages from being reused, so that an address names one tensor

    def hook(name: str):
        def record(_module: nn.Module, args: tuple[Any, ...]) -> None:
            x = args[0]
            alive.append(x)
            reads[name].append((x.data_ptr(), tuple(x.shape), x.stride(), x._version))

        return record

    with hooked([m.register_forward_pre_hook(hook(name)) for name, m in linears.items()]), torch.no_grad():
        model(**batch)
    return reads
