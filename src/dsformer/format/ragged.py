"""Ragged codes: units with different numbers of non-zeros.

On disk the support is one bit for every unit and candidate, or with the banked pattern what ``banked.py`` packs. The
stored values follow one another. In memory every unit has as many values as the longest, padded with zeros.
"""

import numpy as np
import torch
from jaxtyping import Bool, Int, Shaped, UInt8
from numpy.typing import NDArray
from torch import Tensor

from dsformer.errors import ArtefactError, InputError
from dsformer.format.indices import fill_support
from dsformer.format.spec import FormSpec
from dsformer.format.support_codec import stored_bytes, used_bits
from dsformer_runtime.artefact.banked import Banks, pack_banked, unpack_banked


def stored_entries(spec: FormSpec, values: Shaped[Tensor, "units kept"]) -> Bool[Tensor, "units kept"]:
    """Return which values are stored.

    These are all non-zeros, then the first zeros until there are as many as the spec counts.

    Raises:
        InputError: there are more non-zeros than the spec counts.
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
    """Pack the support to exactly ``spec.support_bytes`` bytes.

    Args:
        spec: of the form.
        indices: candidates of every unit, padded.
        cells: which of the indices are stored (see :func:`stored_entries`).

    Raises:
        ArtefactError: the pattern is banked, and the cells are not.
    """
    mask = torch.zeros(spec.units, spec.candidates, dtype=torch.bool)
    mask.scatter_(1, indices.long().cpu(), cells.cpu())
    if spec.pattern.bank:
        try:
            rows = mask if spec.orientation == "input" else mask.T
            return torch.from_numpy(pack_banked(_banks(spec), rows.numpy()))
        except ValueError as error:
            raise ArtefactError(str(error)) from None
    return torch.from_numpy(np.packbits(mask.numpy().reshape(-1), bitorder="little"))


def unpack_ragged_support(
    spec: FormSpec, packed: UInt8[Tensor, " bytes"] | None
) -> tuple[Int[Tensor, "units kept"], Int[Tensor, " entries"]]:
    """Return the candidates of every unit, and the places of the stored values among them.

    The candidates (int32) are ascending and padded with further ones. The places (int64) are indices into the flattened
    matrix of candidates.

    Raises:
        ArtefactError: the bytes have a wrong length or type, the count of entries is wrong, a unit has too many, or
            bits are set in the padding.
    """
    mask = _unpacked_mask(spec, stored_bytes(spec, packed))
    if int(mask.sum()) != spec.code_count or int(mask.sum(1).max()) > spec.nonzeros:
        raise ArtefactError(f"support: not {spec.code_count} entries, at most {spec.nonzeros} in a row")
    indices = fill_support(mask, spec.nonzeros)
    return indices.int(), mask.gather(1, indices).flatten().nonzero()[:, 0]


def _banks(spec: FormSpec) -> Banks:
    return spec.banks(tuple(units for units, _ in spec.ragged), spec.pattern.bank)


def _unpacked_mask(spec: FormSpec, data: NDArray[np.uint8]) -> Bool[Tensor, "units candidates"]:
    """Return the mask of a support."""
    if not spec.pattern.bank:
        bits = used_bits(np.unpackbits(data, bitorder="little"), spec.units * spec.candidates)
        return torch.from_numpy(bits).bool().view(spec.units, spec.candidates)
    try:
        mask = torch.from_numpy(unpack_banked(_banks(spec), data))
    except ValueError as error:
        raise ArtefactError(str(error)) from None
    return mask if spec.orientation == "input" else mask.T.contiguous()


def pad_ragged(
    spec: FormSpec, values: Shaped[Tensor, " entries"], slots: Int[Tensor, " entries"]
) -> Shaped[Tensor, "units kept"]:
    """Put the stored values in their places, with zeros in the others.

    Args:
        spec: of the form.
        values: the stored values.
        slots: their places, as from :func:`unpack_ragged_support`.
    """
    return values.new_zeros(spec.units * spec.nonzeros).index_copy(0, slots, values).view(spec.units, spec.nonzeros)
