"""Differentiable reconstruction of a weight from the codes and the dictionary of its form.

Training reconstructs every weight once a step. That takes about a twentieth of the time of the step's matrix products,
and the layers then run as fast as dense ones. Gradients of values and dictionary follow from the gradient of the
weight.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class EntryPositions:
    """Where every value of the codes goes.

    Attributes:
        learned: positions, in the flat values, of codes of learned atoms; None where all are.
        codes: for each of those, its index in the flat (units, atoms) codes.
        canonical: positions, in the flat values, of codes of canonical atoms; None where there are none.
        weight: for each of those, its index in the flat (units, width) weight.
    """

    learned: Int[Tensor, " learned"] | None
    codes: Int[Tensor, " learned"]
    canonical: Int[Tensor, " canonical"] | None
    weight: Int[Tensor, " canonical"] | None

    @classmethod
    def of(
        cls,
        columns: Int[Tensor, "units kept"],
        atoms: int,
        width: int,
        there: Bool[Tensor, "units kept"] | None = None,
    ) -> "EntryPositions":
        """Compute them from the atom of every value.

        Args:
            columns: position of every value: learned atoms first, then canonical ones.
            atoms: number of learned atoms.
            width: length of an atom.
            there: which values exist; the others, zeros, get no gradient. None: all.
        """
        columns = columns.long()
        units = torch.arange(len(columns), device=columns.device)[:, None]
        learned = columns < atoms
        if there is None and bool(learned.all()):
            return cls(None, (units * atoms + columns).reshape(-1), None, None)
        canonical = ~learned if there is None else ~learned & there
        learned = learned if there is None else learned & there
        return cls(
            learned.reshape(-1).nonzero()[:, 0],
            (units * atoms + columns)[learned],
            canonical.reshape(-1).nonzero()[:, 0],
            (units * width + columns - atoms)[canonical],
        )


class ReconstructWeight(torch.autograd.Function):
    """``S D + S'`` for codes S of learned atoms and S' of canonical ones: (units, width), in a given type."""

    @staticmethod
    def forward(
        ctx: Any,
        values: Float[Tensor, "units kept"],
        dictionary: Float[Tensor, "atoms width"],
        places: EntryPositions,
        dtype: torch.dtype,
    ) -> Float[Tensor, "units width"]:
        """Multiply learned codes by the dictionary and add the canonical codes.

        Args:
            ctx: autograd's context.
            values: codes on the support.
            dictionary: the learned atoms.
            places: where every value goes.
            dtype: type of the product and of the weight.
        """
        units, atoms = len(values), len(dictionary)
        flat = values.reshape(-1).to(dtype)
        codes = flat.new_zeros(units * atoms)
        codes.index_copy_(0, places.codes, flat if places.learned is None else flat.index_select(0, places.learned))
        codes, dense = codes.view(units, atoms), dictionary.to(dtype)
        weight = codes @ dense
        if places.canonical is not None and places.weight is not None:
            weight.view(-1).index_add_(0, places.weight, flat.index_select(0, places.canonical))
        ctx.places, ctx.types, ctx.shape = places, (values.dtype, dictionary.dtype), values.shape
        ctx.save_for_backward(codes, dense)
        return weight

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """Return the gradients of values and dictionary."""
        (gradient,) = gradients
        codes, dictionary = ctx.saved_tensors
        places: EntryPositions = ctx.places
        of_codes = (gradient @ dictionary.T).view(-1).index_select(0, places.codes).to(ctx.types[0])
        if places.learned is None:
            of_values = of_codes
        else:
            of_values = of_codes.new_zeros(ctx.shape.numel())
            of_values.index_copy_(0, places.learned, of_codes)
            straight = gradient.reshape(-1).index_select(0, places.weight).to(ctx.types[0])
            of_values.index_copy_(0, places.canonical, straight)
        of_dictionary = (codes.T @ gradient).to(ctx.types[1]) if ctx.needs_input_grad[1] else None
        return of_values.view(ctx.shape), of_dictionary, None, None
