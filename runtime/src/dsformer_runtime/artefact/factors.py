"""Compressed modules of an artefact, as the matrices and tables of :mod:`dsformer_runtime.model`."""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsformer_runtime.artefact.precision import convert, widen_scales
from dsformer_runtime.artefact.schema import Block
from dsformer_runtime.artefact.spec import Spec, byte_count
from dsformer_runtime.artefact.supports import (
    check_support,
    unpack_integers,
    unpack_permutation,
    unpack_support,
    write_out,
)
from dsformer_runtime.artefact.tensors import Tensors
from dsformer_runtime.errors import RuntimeInputError
from dsformer_runtime.model import CompressedTable, Floats, Linear, Matrix

# Most numbers of a written-out matrix for every byte that is stored.
_MOST_PER_BYTE = 64
_ALWAYS = 1 << 20


class CompressedModules:
    """The compressed modules of an artefact.

    Args:
        tensors: of the artefact.
        blocks: that its configuration describes.
        dtype: in which matrices multiply; None: as they are stored.

    Raises:
        RuntimeInputError: a block describes a form that cannot be.
    """

    def __init__(self, tensors: Tensors, blocks: Sequence[Block], dtype: str | None = None):
        self._tensors, self._dtype = tensors, dtype
        self._places = {member.name: (block, i) for block in blocks for i, member in enumerate(block.members)}
        self._dictionaries: dict[tuple[str, str | None], Matrix] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def linear(self, name: str, bias: Floats | None, rounded: bool = True) -> Linear:
        """Return a compressed linear layer. Layers of one block have one and the same ``inner`` matrix.

        Args:
            name: of the module.
            bias: (out,).
            rounded: whether it multiplies in the type of the model; otherwise no number is rounded when it is loaded.

        Raises:
            RuntimeInputError: its tensors are damaged, or it is of a kind that encoders do not have.
        """
        block, position = self._places[name]
        if block.kind != "linear":
            raise RuntimeInputError(f"{name}: a compressed {block.kind} layer where a linear one is read")
        spec, dtype = block.specs()[position], self._dtype
        if not rounded and dtype is not None:
            dtype = None if dtype == "int8" else "float32"
        try:
            codes = self._codes(name, block, spec)
            dictionary = self._dictionary(block, spec, dtype)
        except RuntimeInputError as error:
            raise RuntimeInputError(f"{name}: {error}") from None
        factors: tuple[Matrix | None, Matrix | None]
        if spec.orientation == "output":
            codes = Matrix(np.ascontiguousarray(codes.values.T), codes.scales)
            learned, units = _rows(codes, 0, spec.atoms), _rows(codes, spec.atoms, None)
            factors = convert(learned, dtype), dictionary
        else:
            learned, units = _columns(codes, 0, spec.atoms), _columns(codes, spec.atoms, None)
            factors = dictionary, convert(learned, dtype)
        direct = convert(units, dtype) if spec.canonical else None
        return Linear(factors[0], factors[1], direct, bias) if spec.atoms else Linear(direct=direct, bias=bias)

    def table(self, name: str) -> CompressedTable:
        """Return a compressed embedding.

        Raises:
            RuntimeInputError: its tensors are damaged, or the module is none.
        """
        block, position = self._places[name]
        if block.kind != "embedding":
            raise RuntimeInputError(f"{name}: a compressed {block.kind} layer where an embedding is read")
        spec = block.specs()[position]
        try:
            return self._table(name, block, spec)
        except RuntimeInputError as error:
            raise RuntimeInputError(f"{name}: {error}") from None

    def _table(self, name: str, block: Block, spec: Spec) -> CompressedTable:
        if spec.blocks:
            raise RuntimeInputError("an embedding of blocks is not supported")
        values = self._numbers(f"{name}.weight", block.code_bits, spec.code_shape)
        value_scales = self._code_scales(name, block, spec) if block.code_bits else None
        dictionary, dictionary_scales = self._stored_dictionary(block, spec)
        if value_scales is not None and block.scale_span:
            values = values * _spread(widen_scales(value_scales), block, values.shape)
            if spec.atoms and dictionary_scales is not None:
                dictionary = dictionary * _spread(widen_scales(dictionary_scales), block, dictionary.shape)
            value_scales = dictionary_scales = None
        packed = self._support(name, spec)
        # Rows are mixed from the stored bits when they are read.
        check_support(spec, packed)
        order, code_of = self._order(name, spec), None
        if order is not None:
            code_of = np.empty_like(order)
            code_of[order] = np.arange(spec.units)
        indexed = spec.encoding == "index"
        scales = [None if one is None else one.view(np.uint16) for one in (dictionary_scales, value_scales)]
        return CompressedTable(
            rows=spec.units,
            width=spec.width,
            dictionary=dictionary,
            values=values,
            dictionary_scales=scales[0] if spec.atoms else None,
            value_scales=scales[1],
            support=packed,
            core=spec.core,
            nonzeros=spec.nonzeros,
            group=spec.pattern.group,
            canonical=spec.canonical,
            field_bits=spec.field_bits if indexed else 0,
            of_set=spec.pattern.n if indexed else 0,
            sets=spec.candidates // spec.pattern.m if spec.pattern.m else 0,
            code_of=code_of,
        )

    def _codes(self, name: str, block: Block, spec: Spec) -> Matrix:
        """Return the codes written out, (units, positions).

        The scales are those of units or, of an output dictionary, of positions.
        """
        values = self._numbers(f"{name}.weight", block.code_bits, spec.code_shape)
        packed = self._support(name, spec)
        stored = values.nbytes + (0 if packed is None else packed.nbytes)
        _check_size(spec.units, spec.positions, stored)
        mask, order = unpack_support(spec, packed), self._order(name, spec)
        if not block.code_bits:
            return Matrix(write_out(mask, values, spec, order))
        scales = widen_scales(self._code_scales(name, block, spec))
        if spec.orientation == "output":
            whole = write_out(mask, values, spec, order)
            return Matrix(whole * scales) if block.scale_span else Matrix(whole, scales)
        if block.scale_span:
            return Matrix(write_out(mask, self._spread_codes(values, scales, block, spec, mask), spec, order))
        placed = scales if order is None else np.empty_like(scales)
        if order is not None:
            placed[order] = scales
        return Matrix(write_out(mask, values, spec, order), placed)

    def _spread_codes(
        self, values: NDArray[Any], scales: Floats, block: Block, spec: Spec, mask: NDArray[np.bool_]
    ) -> Floats:
        """Return the numbers of codes with several scales a unit."""
        if not spec.ragged:
            return values * _spread(scales, block, values.shape)
        # Ragged rows have scales as if they were padded to the longest, with the first candidates that are off. The
        # place of a value in its padded row says which scale is its own.
        chosen = np.argsort(~mask, axis=1, kind="stable")[:, : spec.nonzeros]
        chosen.sort(axis=1)
        there = np.take_along_axis(mask, chosen, axis=1)
        spread = np.broadcast_to(_spread(scales, block, there.shape), there.shape)
        return values.reshape(-1) * spread[there]

    def _dictionary(self, block: Block, spec: Spec, dtype: str | None) -> Matrix | None:
        """Return the dictionary of a block, read once, in a type."""
        key = (block.members[0].name, dtype)
        if not spec.atoms:
            return None
        if key not in self._dictionaries:
            numbers, bits = self._stored_dictionary(block, spec)
            if bits is None:
                matrix = Matrix(numbers)
            elif block.scale_span:
                matrix = Matrix(numbers * _spread(widen_scales(bits), block, numbers.shape))
            else:
                matrix = Matrix(numbers, widen_scales(bits))
            self._dictionaries[key] = convert(matrix, dtype)
        return self._dictionaries[key]

    def _stored_dictionary(self, block: Block, spec: Spec) -> tuple[NDArray[Any], NDArray[Any] | None]:
        """Return the dictionary as a dense matrix and the bits of its scales."""
        lead, rows = block.members[0].name, spec.dictionary_shape[0]
        if not spec.atoms:
            return np.zeros(spec.dictionary_shape, np.int8 if block.code_bits else np.float32), None
        numbers = self._sparse_dictionary(block, spec) if spec.dictionary_nonzeros else None
        if numbers is None:
            numbers = self._numbers(f"{lead}.dictionary", block.dictionary_bits, spec.dictionary_shape)
        if not block.dictionary_bits:
            return numbers, None
        count = rows * block.scales_of(spec.dictionary_shape[1])
        return numbers, self._tensors.integers(f"{lead}.dictionary_scale", "I16", count)

    def _sparse_dictionary(self, block: Block, spec: Spec) -> NDArray[Any]:
        """Return a sparse dictionary written out."""
        lead, inner = block.members[0].name, spec.inner
        kept = self._numbers(f"{lead}.dictionary", block.dictionary_bits, inner.code_shape)
        packed = None
        if inner.encoding != "none":
            packed = self._tensors.integers(f"{lead}.dictionary_support", "U8", byte_count(inner.support_bits))
        _check_size(inner.units, inner.positions, kept.nbytes)
        return write_out(unpack_support(inner, packed), kept, inner, None)

    def _numbers(self, name: str, bits: int, shape: tuple[int, int]) -> NDArray[Any]:
        """Return stored numbers as a matrix of a shape: float32 or, with ``bits``, int8."""
        rows, columns = shape
        if bits:
            packed = self._tensors.integers(name, "I8", rows * byte_count(columns * bits))
            return unpack_integers(packed, rows, columns, bits)
        stored = self._tensors.header(name)
        if prod(stored.shape) != rows * columns:
            raise RuntimeInputError(f"{name}: stored shape {list(stored.shape)} is not that of {rows} x {columns}")
        return self._tensors.floats(name).reshape(shape)

    def _code_scales(self, name: str, block: Block, spec: Spec) -> NDArray[np.int16]:
        """Return the bits of the scales of quantized codes."""
        count = spec.units * block.scales_of(spec.core + spec.nonzeros)
        count = spec.positions if spec.orientation == "output" else count
        return self._tensors.integers(f"{name}.weight_scale", "I16", count)

    def _support(self, name: str, spec: Spec) -> NDArray[np.uint8] | None:
        if spec.encoding == "none":
            return None
        return self._tensors.integers(f"{name}.support", "U8", byte_count(spec.support_bits))

    def _order(self, name: str, spec: Spec) -> NDArray[np.int64] | None:
        if not spec.permuted:
            return None
        packed = self._tensors.integers(f"{name}.permutation", "U8", byte_count(spec.units * spec.label_bits))
        return unpack_permutation(spec, packed)


def _check_size(rows: int, columns: int, stored: int) -> None:
    """Check that a matrix is not much larger written out than the bytes that store it.

    Raises:
        RuntimeInputError: it is.
    """
    if rows * columns > _ALWAYS + _MOST_PER_BYTE * stored:
        raise RuntimeInputError(f"a matrix of {rows} x {columns} in {stored} bytes")


def _rows(matrix: Matrix, start: int, stop: int | None) -> Matrix:
    return Matrix(matrix.values[start:stop], None if matrix.scales is None else matrix.scales[start:stop])


def _columns(matrix: Matrix, start: int, stop: int | None) -> Matrix:
    return Matrix(np.ascontiguousarray(matrix.values[:, start:stop]), matrix.scales)


def _spread(scales: Floats, block: Block, shape: tuple[int, ...]) -> Floats:
    """Return the scale of every number of a matrix whose rows have several."""
    each = block.scales_of(shape[1])
    rows = scales.reshape(shape[0], each)
    return rows if each == 1 else np.repeat(rows, block.scale_span, axis=1)[:, : shape[1]]
