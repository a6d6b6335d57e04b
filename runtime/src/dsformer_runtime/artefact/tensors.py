"""Tensors of safetensors files, mapped into memory.

Headers are checked before anything is read. bfloat16, which NumPy does not have, is read as its bits in uint16.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsformer_runtime.errors import RuntimeInputError
from dsformer_runtime.model import Floats, widen

_TYPES: dict[str, str] = {
    **{"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2"},
    **{"I8": "i1", "U8": "u1", "BOOL": "?"},
}
_FLOATS = frozenset({"F64", "F32", "F16", "BF16"})
# Larger magnitudes are damage: sums and products of them overflow.
_LARGEST = 1e18
_MAX_HEADER = 100_000_000


@dataclass(frozen=True)
class Header:
    """Type (as safetensors names it), shape and bytes of a stored tensor."""

    dtype: str
    shape: tuple[int, ...]
    raw: NDArray[np.uint8]

    @property
    def floating(self) -> bool:
        """Whether the numbers are floating-point."""
        return self.dtype in _FLOATS


class Tensors:
    """The tensors of one file or several.

    Raises:
        RuntimeInputError: a file is damaged or cut short, or a tensor is stored twice.
    """

    def __init__(self, files: Iterable[Path]):
        self._headers: dict[str, Header] = {}
        for file in files:
            for name, header in _read_file(file):
                if name in self._headers:
                    raise RuntimeInputError(f"{file}: {name} is stored twice")
                self._headers[name] = header

    @classmethod
    def of(cls, headers: Mapping[str, Header]) -> "Tensors":
        """Return tensors that are in memory already."""
        tensors = cls([])
        tensors._headers.update(headers)
        return tensors

    def __contains__(self, name: object) -> bool:
        return name in self._headers

    def __iter__(self) -> Iterator[str]:
        return iter(self._headers)

    def header(self, name: str) -> Header:
        """Return the header of a tensor.

        Raises:
            RuntimeInputError: there is no such tensor.
        """
        if name not in self._headers:
            raise RuntimeInputError(f"{name}: not in the weights")
        return self._headers[name]

    def stored(self, name: str) -> NDArray[Any]:
        """Return a tensor as it is stored, a view of the mapped file where that is aligned.

        Raises:
            RuntimeInputError: there is no such tensor.
        """
        header = self.header(name)
        array = header.raw.view(_TYPES[header.dtype]).reshape(header.shape)
        return array if array.flags.aligned else array.copy()

    def floats(self, name: str, shape: tuple[int, ...] | None = None) -> Floats:
        """Return a floating-point tensor in float32; a view of the mapped file where it is stored so.

        Args:
            name: of the tensor.
            shape: that it must have; None: any.

        Raises:
            RuntimeInputError: there is no such tensor, it has another shape or type, or it has NaN, infinite numbers or
                magnitudes beyond 1e18.
        """
        header = self.header(name)
        if not header.floating:
            raise RuntimeInputError(f"{name}: stored as {header.dtype}, not a floating-point type")
        if shape is not None and header.shape != shape:
            raise RuntimeInputError(f"{name}: stored shape {list(header.shape)} is not {list(shape)}")
        stored = self.stored(name)
        with np.errstate(over="ignore", invalid="ignore"):
            numbers = widen(stored)
        if numbers.size and not (numbers.min() >= -_LARGEST and numbers.max() <= _LARGEST):
            raise RuntimeInputError(f"{name}: has NaN or numbers beyond {_LARGEST:g}")
        return numbers

    def integers(self, name: str, dtype: str, count: int) -> NDArray[Any]:
        """Return a tensor of integers, flat.

        Args:
            name: of the tensor.
            dtype: as safetensors names it.
            count: number of integers.

        Raises:
            RuntimeInputError: there is no such tensor, or it has another type or number of integers.
        """
        header = self.header(name)
        if header.dtype != dtype or prod(header.shape) != count:
            raise RuntimeInputError(f"{name}: {header.dtype} {list(header.shape)} is not {count} numbers of {dtype}")
        return self.stored(name).reshape(-1)


def _read_file(file: Path) -> Iterator[tuple[str, Header]]:
    """Yield the name and header of every tensor of a file, whose bytes are mapped."""
    try:
        size = file.stat().st_size
        if size < 8:
            raise RuntimeInputError(f"{file}: cut short")
        data = np.memmap(file, np.uint8, "r")
    except (OSError, ValueError) as error:
        if isinstance(error, RuntimeInputError):
            raise
        raise RuntimeInputError(f"{file}: cannot be read ({error})") from None
    length = int.from_bytes(data[:8].tobytes(), "little")
    if not 2 <= length <= min(size - 8, _MAX_HEADER):
        raise RuntimeInputError(f"{file}: damaged or cut short (a header of {length} bytes)")
    try:
        entries = json.loads(data[8 : 8 + length].tobytes().decode("utf-8"))
    except (ValueError, RecursionError):
        raise RuntimeInputError(f"{file}: damaged (its header is not JSON)") from None
    if not isinstance(entries, dict):
        raise RuntimeInputError(f"{file}: damaged (its header is not an object)")
    entries.pop("__metadata__", None)
    # A plain array: views of a memmap carry its slower class along.
    yield from _check_entries(file, entries, np.asarray(data)[8 + length :])


def _check_entries(file: Path, entries: dict[str, Any], data: NDArray[np.uint8]) -> Iterator[tuple[str, Header]]:
    """Yield the headers of a file, whose tensors have to fill it one after another."""
    found = [(*_parse_entry(file, name, entry), name) for name, entry in entries.items()]
    end = 0
    for start, stop, dtype, shape, name in sorted(found, key=lambda one: one[:2]):
        if start != end:
            raise RuntimeInputError(f"{file}: damaged (the bytes of {name} do not follow those before)")
        end = stop
        if stop > len(data):
            raise RuntimeInputError(f"{file}: cut short ({name} ends after the file)")
        yield name, Header(dtype, shape, data[start:stop])
    if end != len(data):
        raise RuntimeInputError(f"{file}: damaged ({len(data) - end} bytes belong to no tensor)")


def _parse_entry(file: Path, name: str, entry: Any) -> tuple[int, int, str, tuple[int, ...]]:
    """Return start, end, type and shape of a tensor."""
    fields = entry if isinstance(entry, dict) else {}
    dtype, shape, offsets = fields.get("dtype"), fields.get("shape"), fields.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in _TYPES:
        raise RuntimeInputError(f"{file}: {name} has the type {str(dtype)[:20]!r}, which is not read")
    if not _are_counts(shape, 0, 8) or not _are_counts(offsets, 2, 2):
        raise RuntimeInputError(f"{file}: damaged (shape or offsets of {name})")
    assert isinstance(shape, list)
    assert isinstance(offsets, list)
    start, stop = offsets
    if stop - start != prod(shape) * np.dtype(_TYPES[dtype]).itemsize:
        raise RuntimeInputError(f"{file}: damaged ({name} of shape {shape} has {stop - start} bytes)")
    return start, stop, dtype, tuple(shape)


def _are_counts(value: Any, least: int, most: int) -> bool:
    """Return whether a value is a list of ``least`` to ``most`` whole numbers that are not negative."""
    listed = isinstance(value, list) and least <= len(value) <= most
    return listed and all(type(one) is int and 0 <= one < 2**62 for one in value)
