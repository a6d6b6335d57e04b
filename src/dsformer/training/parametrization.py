"""Trained blocks: plain linear layers whose weights are reconstructed from trained codes and dictionaries.

Every layer keeps its class, bias and position in the model. Only its ``weight`` is no longer a parameter: the block
computes it before each forward pass. So models, autocast, gradient accumulation and data parallelism work unchanged.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from dsformer.format.form import Form
from dsformer.format.indices import fill_support, find_nonzeros, sort_entries
from dsformer.format.precision import Precision
from dsformer.format.schema import BlockConfig
from dsformer.format.spec import FormSpec
from dsformer.training.qat import block_steps, fake_quantize
from dsformer.training.reconstruct import EntryPositions, ReconstructWeight

GradientHook = Callable[[Float[Tensor, "units width"]], None]


class LearnedBlock(nn.Module):
    """Values and dictionary of one block on its present support, as parameters.

    Atoms are rows and start with norm 1, whatever the orientation, so that one learning rate suits all blocks.

    Args:
        config: the block's layers.
        form: the factorization to start from.

    Attributes:
        values: codes on the support, (units, kept), in ascending position.
        dictionary: (atoms, width).
        columns: position of every value: learned atoms first, then canonical ones.
        order: units sorted so that the members of a group are neighbours.
        watcher: called with the gradient of the weight in every backward pass; None: nothing is called.
    """

    columns: Tensor
    order: Tensor
    cells: Tensor | None
    value_steps: Tensor
    dictionary_steps: Tensor
    entries: Tensor | None

    def __init__(self, config: BlockConfig, form: Form):
        super().__init__()
        self.config, self.spec = config, form.spec
        atoms = form.dictionary if form.spec.orientation == "input" else form.dictionary.T
        norm = atoms.float().norm(dim=1, keepdim=True).clamp_min(1e-9)
        order = torch.arange(form.spec.units) if form.permutation is None else form.permutation
        columns = _columns(form.spec, form.indices)
        scale = torch.cat([norm[:, 0], norm.new_ones(form.spec.width if form.spec.canonical else 0)])
        values = form.values.float() * scale[columns]
        self.values = nn.Parameter(torch.empty_like(values).index_copy_(0, order, values))
        self.dictionary = nn.Parameter((atoms.float() / norm).contiguous())
        # Where a sparse dictionary has entries; training does not change its support.
        self.register_buffer("entries", _entries(form.spec, atoms), persistent=False)
        self.register_buffer("columns", torch.empty_like(columns).index_copy_(0, order, columns).int())
        self.register_buffer("order", order.clone())
        # Which values of banked codes exist.
        self.register_buffer("cells", None if form.cells is None else form.cells.clone())
        self.watcher: GradientHook | None = None
        self.precision: Precision | None = None
        self._places: EntryPositions | None = None
        self.register_load_state_dict_pre_hook(_resize)
        self.register_load_state_dict_post_hook(lambda module, keys: module.moved())

    def round_to(self, precision: Precision) -> None:
        """Reconstruct the weight from fake-quantized factors from now on (quantization-aware training)."""
        self.precision = precision
        # Buffers are in checkpoints, so that a resumed run has the same steps.
        self.register_buffer("value_steps", torch.empty_like(self.values.data))
        self.register_buffer("dictionary_steps", torch.empty_like(self.dictionary.data))
        self.look_again()

    @torch.no_grad()
    def look_again(self) -> None:
        """Update the quantization steps to the present range of the factors."""
        if self.precision is not None:
            self.value_steps, self.dictionary_steps = block_steps(self.form(), self.order, self.precision)

    def factors(self) -> tuple[Float[Tensor, "units kept"], Float[Tensor, "atoms width"]]:
        """Return values and dictionary as the weight is reconstructed from them: fake-quantized if asked for."""
        dictionary = self.atoms()
        if self.precision is None:
            return self.values, dictionary
        values = fake_quantize(self.values, self.value_steps, self.precision.codes)
        return values, fake_quantize(dictionary, self.dictionary_steps, self.precision.dictionary)

    def atoms(self) -> Float[Tensor, "atoms width"]:
        """Return the dictionary, with zeros where a sparse one has no entry."""
        return self.dictionary if self.entries is None else self.dictionary * self.entries

    def moved(self) -> None:
        """Forget what was derived from the support, which has changed."""
        self._places = None

    @property
    def places(self) -> EntryPositions:
        """Where every value goes in the codes and in the weight."""
        if self._places is None:
            self._places = EntryPositions.of(self.columns, self.spec.atoms, self.spec.width, self.there())
        return self._places

    def unit_weight(self) -> Float[Tensor, "units width"]:
        """Return the weight with one row a unit (transposed for an output dictionary), differentiable and watched."""
        weight = self.multiplied()
        if self.watcher is not None and weight.requires_grad:
            weight.register_hook(self.watcher)
        return weight

    def multiplied(self) -> Float[Tensor, "units width"]:
        """Reconstruct the weight from what is trained, in autocast's type if autocast is on."""
        device = self.values.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else torch.float32
        with torch.autocast(device, enabled=False):
            weight = ReconstructWeight.apply(*self.factors(), self.places, dtype)
        assert isinstance(weight, Tensor)
        return weight

    def there(self) -> Bool[Tensor, "units kept"] | None:
        """Return which values of ragged rows exist, of free codes those that are not zero; None: all do."""
        if self.cells is not None:
            return self.cells
        return self.values.detach() != 0 if self.spec.ragged else None

    def mask(self) -> Bool[Tensor, "units positions"]:
        """Return the support as a mask."""
        spec = self.spec
        empty = torch.zeros(spec.units, spec.core + spec.candidates, dtype=torch.bool, device=self.columns.device)
        there = self.there()
        return empty.scatter_(
            1, self.columns.long(), torch.ones_like(self.columns, dtype=torch.bool) if there is None else there
        )

    @torch.no_grad()
    def codes(self) -> Float[Tensor, "units positions"]:
        """Return the codes as a dense matrix."""
        spec = self.spec
        return self.values.new_zeros(spec.units, spec.core + spec.candidates).scatter_(
            1, self.columns.long(), self.values
        )

    @torch.no_grad()
    def take(
        self,
        codes: Float[Tensor, "units positions"],
        mask: Bool[Tensor, "units positions"],
        dictionary: Float[Tensor, "atoms width"],
    ) -> None:
        """Replace codes, support and dictionary.

        Args:
            codes: values off the support are ignored.
            mask: the new support.
            dictionary: the new dictionary.
        """
        device = self.values.device
        codes, mask = codes.to(device) * mask.to(device), mask.to(device)
        self.columns = fill_support(mask, int(mask.sum(1).max())).int()
        # The optimizer knows this parameter object, so only its data is replaced, by data of another size.
        self.values.data = codes.gather(1, self.columns.long())
        if self.cells is not None:
            self.cells = mask.gather(1, self.columns.long())
        self.values.grad = None
        self.dictionary.copy_(dictionary)
        self.moved()
        self.look_again()

    @torch.no_grad()
    def form(self) -> Form:
        """Return the trained factorization, with the spec it started with; entries of banked codes are counted anew."""
        spec, order = self.spec, self.order
        values, columns = self.values.detach()[order], self.columns.long()[order]
        indices = columns[:: spec.pattern.group, spec.core :] - spec.core
        dictionary = self.dictionary.detach() if spec.orientation == "input" else self.dictionary.detach().T
        permutation = order.clone() if spec.permuted else None
        form = Form(spec, dictionary.contiguous(), values.clone(), indices.contiguous(), permutation, self.cells)
        return (
            form if self.cells is None else sort_entries(form, [member.out_features for member in self.config.members])
        )


def _entries(spec: FormSpec, atoms: Float[Tensor, "atoms width"]) -> Bool[Tensor, "atoms width"] | None:
    """Return where a sparse dictionary has entries; None: it is dense."""
    if spec.inner is None:
        return None
    return torch.zeros_like(atoms, dtype=torch.bool).scatter_(1, find_nonzeros(spec, atoms), True)


def _resize(block: LearnedBlock, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Resize values and positions to those of a checkpoint, which may have another number of non-zeros."""
    stored = state.get(f"{prefix}values")
    if isinstance(stored, Tensor) and stored.shape != block.values.shape:
        block.values.data = block.values.new_empty(stored.shape)
        block.columns = block.columns.new_empty(stored.shape)
        if block.cells is not None:
            block.cells = block.cells.new_empty(stored.shape)
        if block.precision is not None:
            block.value_steps = block.value_steps.new_empty(stored.shape)


def _columns(spec: FormSpec, indices: Int[Tensor, "groups nonzeros"]) -> Int[Tensor, "units kept"]:
    """Return the position of every value of every unit: the core, then the selected atoms."""
    chosen = spec.core + indices.long().repeat_interleave(spec.pattern.group, 0)
    core = torch.arange(spec.core).expand(spec.units, spec.core)
    return torch.cat([core, chosen], 1)


class LearnedBlocks(nn.Module):
    """The trained blocks of a model, attached to its linear layers; ``detach`` makes their weights parameters again."""

    def __init__(self, model: nn.Module, blocks: Sequence[LearnedBlock]):
        super().__init__()
        self._blocks = list(blocks)
        self.held = nn.ModuleList(blocks)
        self._linears = [[model.get_submodule(name) for name in block.config.names] for block in blocks]
        for linears in self._linears:
            for linear in linears:
                del linear._parameters["weight"]
        self.fix_support()
        self._handle = model.register_forward_pre_hook(lambda *_: self.refresh())

    def __iter__(self) -> Iterator[LearnedBlock]:
        return iter(self._blocks)

    def __len__(self) -> int:
        return len(self._blocks)

    def refresh(self) -> None:
        """Reconstruct every weight from the present factors."""
        for block, linears in zip(self, self._linears, strict=True):
            weight = block.unit_weight()
            if block.spec.orientation == "output":
                weight = weight.T
            # The gradient of a split copies, even that of a split into one.
            sizes = [member.out_features for member in block.config.members]
            parts = weight.split(sizes) if len(sizes) > 1 else (weight,)
            for linear, part in zip(linears, parts, strict=True):
                linear.__dict__["weight"] = part.T if isinstance(linear, Conv1D) else part

    @torch.no_grad()
    def fix_support(self) -> None:
        """Reconstruct every weight without a graph: one that lives on would hold parameters to their old shapes."""
        self.refresh()

    def detach(self) -> None:
        """Make the present weights parameters of the linear layers."""
        self._handle.remove()
        self.fix_support()
        for linear in (linear for linears in self._linears for linear in linears):
            linear.weight = nn.Parameter(linear.__dict__.pop("weight").detach().float().contiguous())
