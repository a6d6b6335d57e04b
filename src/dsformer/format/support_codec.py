"""Bit encoding of supports and permutations: bitmask, index fields, n:m fields.

The support of the codes is stored as a flat bit stream, least significant bit first in every byte. It is padded with
zeros to a whole byte at its very end and nowhere else:

- encoding ``mask``: one bit for every (group, candidate), groups first;
- encoding ``index``: one field of fixed width (least significant bit first) for every selected candidate, groups
  first, ascending. With an ``n:m`` pattern the fields of a group are those of its strided sets of atoms in turn. Set
  ``j`` holds the atoms ``j, j + q, j + 2q, ...`` with ``q = candidates / m``. A field says which of the ``m`` is
  selected;
- encoding ``none``: nothing is stored, because the support is empty, full or, with ``blocks``, always the same.

Ragged supports are masks too (see ``ragged.py``).

A permutation is stored as the group of every unit, in the same kind of bit stream with one field for each unit. The
units of a group are ascending.
"""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Int, UInt8
from numpy.typing import NDArray
from torch import Tensor

from dsformer.errors import ArtefactError
from dsformer.format.indices import implied_support
from dsformer.format.spec import FormSpec

# Bits unpacked at a time. An unpacked bit takes a byte, so this bounds the working memory.
_CHUNK_BITS = 1 << 24


def pack_support(spec: FormSpec, indices: Int[Tensor, "groups nonzeros"]) -> UInt8[Tensor, " bytes"]:
    """Pack the support to exactly ``spec.support_bytes`` bytes.

    Args:
        spec: of the form.
        indices: one row for each group of units: the selected candidates, ascending.

    Raises:
        ArtefactError: the indices are not a support of this spec.
    """
    array = indices.detach().cpu().numpy().astype(np.int64, copy=False)
    _validate(spec, array)
    if spec.encoding == "none":
        if spec.blocks and not np.array_equal(array, implied_support(spec).numpy()):
            raise ArtefactError(f"support: not that of {spec.blocks} blocks")
        return torch.empty(0, dtype=torch.uint8)
    chunks = []
    for start, stop in _chunks(spec):
        rows = array[start:stop]
        bits = _mask_bits(spec, rows) if spec.encoding == "mask" else _field_bits(spec, rows)
        chunks.append(np.packbits(bits.reshape(-1), bitorder="little"))
    return torch.from_numpy(np.concatenate(chunks) if chunks else np.empty(0, np.uint8))


def unpack_support(spec: FormSpec, packed: UInt8[Tensor, " bytes"] | None) -> Int[Tensor, "groups nonzeros"]:
    """Return the selected candidates of every group of units, ascending, as int32.

    Args:
        spec: of the form.
        packed: the stored bytes; ignored (and may be None) when ``spec.encoding`` is ``none``.

    Raises:
        ArtefactError: the bytes have a wrong length or type, a group has a wrong count, an index is out of range or out
            of order, or bits are set in the padding.
    """
    if spec.encoding == "none":
        return implied_support(spec).contiguous()
    data = stored_bytes(spec, packed)
    indices = np.empty((spec.groups, spec.nonzeros), dtype=np.int32)
    bits_per_group = _bits_per_group(spec)
    for start, stop in _chunks(spec):
        count = (stop - start) * bits_per_group
        first = start * bits_per_group // 8
        bits = np.unpackbits(data[first : first + (count + 7) // 8], bitorder="little")
        rows = used_bits(bits, count).reshape(stop - start, bits_per_group)
        indices[start:stop] = _from_mask(spec, rows) if spec.encoding == "mask" else _from_fields(spec, rows)
    _validate(spec, indices)
    return torch.from_numpy(indices)


def stored_bytes(spec: FormSpec, packed: UInt8[Tensor, " bytes"] | None) -> NDArray[np.uint8]:
    """Return the bytes of a support as an array.

    Raises:
        ArtefactError: their number is not that of the spec, or their type is not uint8.
    """
    if packed is None or packed.dtype != torch.uint8 or packed.shape != (spec.support_bytes,):
        raise ArtefactError(f"support: not {spec.support_bytes} bytes of uint8")
    return packed.detach().cpu().numpy()


def used_bits(bits: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """Return the first ``count`` bits, without the padding.

    Raises:
        ArtefactError: bits are set in the padding.
    """
    if bits[count:].any():
        raise ArtefactError("support: bits are set beyond its end")
    return bits[:count]


def pack_permutation(spec: FormSpec, permutation: Int[Tensor, " units"]) -> UInt8[Tensor, " bytes"]:
    """Pack the permutation to exactly ``spec.permutation_bytes`` bytes: the group of every unit.

    Raises:
        ArtefactError: it is not a permutation of this spec's units that is ascending within every group.
    """
    order, expected = permutation.detach().cpu().long(), torch.arange(spec.units)
    if order.shape != expected.shape or not torch.equal(order.sort().values, expected):
        raise ArtefactError(f"permutation: not a permutation of {spec.units} units")
    groups = order.view(spec.groups, spec.pattern.group)
    if (groups[:, 1:] < groups[:, :-1]).any():
        raise ArtefactError("permutation: the units of a group are not ascending")
    labels = torch.empty_like(order)
    labels[order] = expected // spec.pattern.group
    bits = (labels.numpy()[:, None] >> np.arange(spec.label_bits)) & 1
    return torch.from_numpy(np.packbits(bits.astype(np.uint8).reshape(-1), bitorder="little"))


def unpack_permutation(spec: FormSpec, packed: UInt8[Tensor, " bytes"]) -> Int[Tensor, " units"]:
    """Return the unit that every code describes (int64), by operations that can be traced into a compiled graph.

    Damaged bytes are not noticed here and give some permutation; :func:`check_permutation` finds them.
    """
    return _labels(spec, packed).argsort(stable=True)


def check_permutation(spec: FormSpec, packed: UInt8[Tensor, " bytes"]) -> None:
    """Check the bytes of a permutation.

    Raises:
        ArtefactError: they have a wrong length or type, groups have a wrong size, or bits are set in the padding.
    """
    if packed.dtype != torch.uint8 or packed.shape != (spec.permutation_bytes,):
        raise ArtefactError(f"permutation: not {spec.permutation_bytes} bytes of uint8")
    used = spec.units * spec.label_bits
    if used % 8 and int(packed[-1]) >> used % 8:
        raise ArtefactError("permutation: bits are set beyond its end")
    sizes = torch.bincount(_labels(spec, packed.cpu()), minlength=spec.groups)
    if len(sizes) > spec.groups or (sizes != spec.pattern.group).any():
        raise ArtefactError(f"permutation: not groups of {spec.pattern.group} of {spec.units} units")


def _labels(spec: FormSpec, packed: UInt8[Tensor, " bytes"]) -> Int[Tensor, " units"]:
    bits = (packed[:, None] >> torch.arange(8, dtype=torch.uint8, device=packed.device)) & 1
    fields = bits.reshape(-1)[: spec.units * spec.label_bits].view(spec.units, spec.label_bits).long()
    return (fields << torch.arange(spec.label_bits, device=packed.device)).sum(1)


def _bits_per_group(spec: FormSpec) -> int:
    if spec.encoding == "mask":
        return spec.candidates
    return spec.pattern.metadata_bits(spec.candidates, spec.nonzeros)


def _chunks(spec: FormSpec) -> Iterator[tuple[int, int]]:
    """Yield ranges of groups whose bits start at whole bytes."""
    step = 8 * max(1, _CHUNK_BITS // (8 * max(1, _bits_per_group(spec))))
    for start in range(0, spec.groups, step):
        yield start, min(start + step, spec.groups)


def _mask_bits(spec: FormSpec, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    bits = np.zeros((len(rows), spec.candidates), dtype=np.uint8)
    np.put_along_axis(bits, rows, 1, axis=1)
    return bits


def _field_bits(spec: FormSpec, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    fields = rows
    if spec.pattern.m:
        sets = spec.candidates // spec.pattern.m
        order = np.argsort(rows % sets, axis=1, kind="stable")
        fields = np.take_along_axis(rows // sets, order, axis=1)
    return ((fields[..., None] >> np.arange(spec.pattern.field_bits(spec.candidates))) & 1).astype(np.uint8)


def _from_mask(spec: FormSpec, bits: NDArray[np.uint8]) -> NDArray[np.int64]:
    if (bits.sum(axis=1, dtype=np.int64) != spec.nonzeros).any():
        raise ArtefactError(f"support: a group does not have {spec.nonzeros} non-zeros")
    return np.flatnonzero(bits).reshape(len(bits), spec.nonzeros) % spec.candidates


def _from_fields(spec: FormSpec, bits: NDArray[np.uint8]) -> NDArray[np.int32]:
    width = spec.pattern.field_bits(spec.candidates)
    planes = bits.reshape(len(bits), spec.nonzeros, width)
    fields = np.zeros(planes.shape[:2], dtype=np.int32)
    for position in range(width):
        fields |= planes[..., position].astype(np.int32) << position
    if not spec.pattern.m:
        return fields
    n, m = spec.pattern.n, spec.pattern.m
    if (fields >= m).any() or (np.diff(fields.reshape(len(fields), -1, n), axis=2) <= 0).any():
        raise ArtefactError(f"support: not {n} of every {m} atoms")
    sets = spec.candidates // m
    return np.sort(fields * sets + np.repeat(np.arange(sets, dtype=np.int32), n), axis=1)


def _validate(spec: FormSpec, indices: NDArray[np.int32] | NDArray[np.int64]) -> None:
    if indices.shape != (spec.groups, spec.nonzeros):
        raise ArtefactError(f"support: shape {indices.shape} is not {(spec.groups, spec.nonzeros)}")
    if indices.size == 0:
        return
    if indices.min() < 0 or indices.max() >= spec.candidates:
        raise ArtefactError(f"support: an index is outside the {spec.candidates} candidates")
    if (indices[:, 1:] <= indices[:, :-1]).any():
        raise ArtefactError("support: the indices of a group are not ascending")
    if spec.pattern.m:
        sets = spec.candidates // spec.pattern.m
        order = np.sort(indices % sets, axis=1)
        if (order != np.repeat(np.arange(sets), spec.pattern.n)).any():
            raise ArtefactError(f"support: not {spec.pattern.n} of every {spec.pattern.m} atoms")
