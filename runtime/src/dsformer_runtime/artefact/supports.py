"""Supports, permutations and packed integers, unpacked from their bytes.

Streams of bits have the least significant bit of every byte first, and zeros after their end. Every encoding of a
support has one function in ``_READERS``, which makes a mask of the bits (groups, bits of each); a new one is one more.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsformer_runtime.artefact.banked import unpack_banked
from dsformer_runtime.artefact.spec import Spec, byte_count
from dsformer_runtime.errors import RuntimeInputError

Mask = NDArray[np.bool_]
# Bits that are unpacked at a time where a support is only checked.
_CHUNK_BITS = 1 << 22


def unpack_support(spec: Spec, packed: NDArray[np.uint8] | None) -> Mask:
    """Return which candidates are selected, (groups, candidates).

    Args:
        spec: of the form.
        packed: the stored bytes; None where nothing is stored.

    Raises:
        RuntimeInputError: the bytes are not a support of this spec.
    """
    if spec.encoding == "none":
        return _implied(spec)
    assert packed is not None
    if spec.encoding == "ranks":
        return _from_ranks(spec, packed)
    bits = _used_bits(packed, spec.support_bits, "support")
    return _READERS[spec.encoding](spec, bits.reshape(spec.groups, -1))


def unpack_groups(spec: Spec, packed: NDArray[np.uint8] | None, groups: NDArray[np.integer]) -> Mask:
    """Return which candidates a few groups select, (chosen groups, candidates).

    Args:
        spec: of the form.
        packed: the stored bytes; None where nothing is stored.
        groups: numbers of the groups.

    Raises:
        RuntimeInputError: the bytes are not a support of this spec.
    """
    if spec.encoding == "none":
        return np.broadcast_to(_implied(spec)[:1], (len(groups), spec.candidates))
    assert packed is not None
    each = spec.support_bits // spec.groups
    first, offset = np.divmod(np.asarray(groups, np.int64) * each, 8)
    # One byte more than a group has: it starts anywhere in the first one.
    places = first[:, None] + np.arange(byte_count(each) + 1)
    bits = np.unpackbits(packed[np.minimum(places, len(packed) - 1)], axis=1, bitorder="little")
    return _READERS[spec.encoding](spec, np.take_along_axis(bits, offset[:, None] + np.arange(each), axis=1))


def check_support(spec: Spec, packed: NDArray[np.uint8] | None) -> None:
    """Check a support in parts, so that it is never unpacked as a whole.

    Args:
        spec: of the form.
        packed: the stored bytes; None where nothing is stored.

    Raises:
        RuntimeInputError: the bytes are not a support of this spec.
    """
    if packed is None:
        return
    if spec.support_bits % 8 and packed[-1] >> spec.support_bits % 8:
        raise RuntimeInputError("support: bits are set beyond its end")
    step = max(1, _CHUNK_BITS * spec.groups // spec.support_bits)
    for start in range(0, spec.groups, step):
        unpack_groups(spec, packed, np.arange(start, min(start + step, spec.groups)))


def unpack_permutation(spec: Spec, packed: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the unit that every code describes.

    Args:
        spec: of the form.
        packed: the stored bytes, the group of every unit.

    Raises:
        RuntimeInputError: groups have a wrong size, or bits are set in the padding.
    """
    fields = _used_bits(packed, spec.units * spec.label_bits, "permutation").reshape(spec.units, spec.label_bits)
    labels = _numbers(fields)
    sizes = np.bincount(labels, minlength=spec.groups)
    if len(sizes) > spec.groups or (sizes != spec.pattern.group).any():
        raise RuntimeInputError(f"permutation: not groups of {spec.pattern.group} of {spec.units} units")
    return np.argsort(labels, kind="stable")


def unpack_integers(packed: NDArray[Any], rows: int, columns: int, bits: int) -> NDArray[np.int8]:
    """Return the integers of packed rows, (rows, columns).

    Args:
        packed: bytes of all rows, each padded to a whole byte.
        rows: number of rows.
        columns: integers in a row.
        bits: of one integer, in two's complement; 8: the bytes are the integers.
    """
    stored = packed.view(np.uint8).reshape(rows, byte_count(columns * bits))
    if bits == 8:
        return stored.view(np.int8)
    whole = np.zeros((rows, columns), np.uint8)
    stream = np.unpackbits(stored, axis=1, count=columns * bits, bitorder="little")
    for place in range(bits):
        whole |= stream[:, place::bits] << np.uint8(place)
    sign = np.uint8(1 << (bits - 1))
    return ((whole ^ sign) - sign).view(np.int8)


def write_out(mask: Mask, values: NDArray[Any], spec: Spec, order: NDArray[np.int64] | None) -> NDArray[Any]:
    """Return the codes as a dense matrix (units, positions) in the order of the weight's units.

    Args:
        mask: which candidates each group selects.
        values: in the order in which they are stored.
        spec: of the form.
        order: the unit that every code describes; None: its own.
    """
    dense = np.zeros((spec.units, spec.positions), values.dtype)
    every = mask if spec.pattern.group == 1 else np.repeat(mask, spec.pattern.group, axis=0)
    if spec.ragged:
        dense[every] = values.reshape(-1)
    else:
        dense[:, : spec.core] = values[:, : spec.core]
        dense[:, spec.core :][every] = values[:, spec.core :].reshape(-1)
    if order is None:
        return dense
    placed = np.empty_like(dense)
    placed[order] = dense
    return placed


def _implied(spec: Spec) -> Mask:
    """Return a support that is not stored: none, all or, with blocks, the candidates of the unit's block."""
    if not spec.blocks:
        return np.broadcast_to(np.bool_(spec.nonzeros > 0), (spec.groups, spec.candidates))
    unit, candidate = np.arange(spec.units)[:, None], np.arange(spec.candidates)
    if spec.atoms:
        return candidate % spec.blocks == unit % spec.blocks
    return candidate // spec.nonzeros == unit // (spec.units // spec.blocks)


def _from_mask(spec: Spec, bits: NDArray[np.uint8]) -> Mask:
    mask = bits.view(np.bool_)
    if (mask.sum(1) != spec.nonzeros).any():
        raise RuntimeInputError(f"support: a group does not have {spec.nonzeros} non-zeros")
    return mask


def _from_ragged(spec: Spec, bits: NDArray[np.uint8]) -> Mask:
    mask = bits.view(np.bool_)
    counts = mask.sum(1)
    if counts.sum() != spec.entries or counts.max() > spec.nonzeros:
        raise RuntimeInputError(f"support: not {spec.entries} entries, at most {spec.nonzeros} in a row")
    return mask


def _from_ranks(spec: Spec, packed: NDArray[np.uint8]) -> Mask:
    try:
        mask = unpack_banked(spec.banks, packed)
    except ValueError as error:
        raise RuntimeInputError(str(error)) from None
    mask = mask if spec.orientation == "input" else np.ascontiguousarray(mask.T)
    if mask.sum() != spec.entries or mask.sum(1).max() > spec.nonzeros:
        raise RuntimeInputError(f"support: not {spec.entries} entries, at most {spec.nonzeros} in a row")
    return mask


def _from_index(spec: Spec, bits: NDArray[np.uint8]) -> Mask:
    fields = _numbers(bits.reshape(len(bits), spec.nonzeros, spec.field_bits))
    n, m = spec.pattern.n, spec.pattern.m
    if m:
        if (fields >= m).any() or (np.diff(fields.reshape(len(fields), -1, n), axis=2) <= 0).any():
            raise RuntimeInputError(f"support: not {n} of every {m} atoms")
        sets = spec.candidates // m
        fields = fields * sets + np.repeat(np.arange(sets, dtype=fields.dtype), n)
    elif (fields >= spec.candidates).any() or (np.diff(fields, axis=1) <= 0).any():
        raise RuntimeInputError(f"support: not ascending indices below {spec.candidates}")
    mask = np.zeros((len(fields), spec.candidates), np.bool_)
    np.put_along_axis(mask, fields, True, axis=1)
    return mask


_READERS: dict[str, Callable[[Spec, NDArray[np.uint8]], Mask]] = {
    "mask": _from_mask,
    "ragged": _from_ragged,
    "index": _from_index,
}


def _used_bits(packed: NDArray[np.uint8], count: int, what: str) -> NDArray[np.uint8]:
    """Return the first bits of a stream, a byte each; those after them have to be zero."""
    bits = np.unpackbits(packed, bitorder="little")
    if bits[count:].any():
        raise RuntimeInputError(f"{what}: bits are set beyond its end")
    return bits[:count]


def _numbers(fields: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the numbers of fields of bits along the last axis, least significant first."""
    numbers = np.zeros(fields.shape[:-1], np.int64)
    for place in range(fields.shape[-1]):
        numbers |= fields[..., place].astype(np.int64) << place
    return numbers
