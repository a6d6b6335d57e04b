"""Ragged codes: one bit for every unit and candidate, and the values that are there, one after another.

In memory units have equally many values, the longest unit's, those that are not there being zero.
"""

import numpy as np
import torch
from jaxtyping import Bool, Int, Shaped, UInt8
from torch import Tensor

from dsformer.errors import ArtefactError, InputError
from dsformer.format.indices import fill_support
from dsformer.format.spec import FormSpec
from dsformer.format.support_codec import stored_bytes, used_bits


def stored_entries(spec: FormSpec, values: Shaped[Tensor, "units kept"]) -> Bool[Tensor, "units kept"]:
    """Which values are stored: those that are not zero, and of the others the first, as many as the spec still has.

    Raises:
        InputError: there are more than it has.
    """
    there = (values != 0).flatten()
    missing = spec.code_count - int(there.sum())
    if missing < 0:
        raise InputError(f"{spec.code_count - missing} values, where there is room for {spec.code_count}")
    there[(~there).nonzero()[:missing, 0]] = True
    return there.view_as(values)


def pack_ragged_support(
    spec: FormSpec, indices: Int[Tensor, "units kept"], cells: Bool[Tensor, "units kept"]
) -> UInt8[Tensor, " bytes"]:
    """The support as exactly ``spec.support_bytes`` bytes."""
    mask = torch.zeros(spec.units, spec.candidates, dtype=torch.bool)
    mask.scatter_(1, indices.long().cpu(), cells.cpu())
    return torch.from_numpy(np.packbits(mask.numpy().reshape(-1), bitorder="little"))


def unpack_ragged_support(
    spec: FormSpec, packed: UInt8[Tensor, " bytes"] | None
) -> tuple[Int[Tensor, "units kept"], Int[Tensor, " entries"]]:
    """The candidates of every unit, ascending, filled up with others (int32), and the places of the stored values among
    them (int64).

    Raises:
        ArtefactError: wrong length or type, wrong count, a unit with too many, or bits set in the padding.
    """
    bits = used_bits(np.unpackbits(stored_bytes(spec, packed), bitorder="little"), spec.units * spec.candidates)
    mask = torch.from_numpy(bits).bool().view(spec.units, spec.candidates)
    if int(mask.sum()) != spec.code_count or int(mask.sum(1).max()) > spec.nonzeros:
        raise ArtefactError(f"support: not {spec.code_count} entries, at most {spec.nonzeros} in a row")
    indices = fill_support(mask, spec.nonzeros)
    return indices.int(), mask.gather(1, indices).flatten().nonzero()[:, 0]


def pad_ragged(
    spec: FormSpec, values: Shaped[Tensor, " entries"], slots: Int[Tensor, " entries"]
) -> Shaped[Tensor, "units kept"]:
    """The stored values in their places, zeros in the others."""
    return values.new_zeros(spec.units * spec.nonzeros).index_copy(0, slots, values).view(spec.units, spec.nonzeros)
