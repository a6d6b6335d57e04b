"""Types in which matrices multiply: as they are stored, or rounded when a model is loaded."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsformer_runtime.errors import RuntimeInputError
from dsformer_runtime.model import Floats, Matrix

DTYPES = (None, "float32", "bfloat16", "int8")
_LARGEST = 127


def check_dtype(dtype: str | None) -> None:
    """Check the name of a type.

    Raises:
        RuntimeInputError: it is none of ``DTYPES``.
    """
    if dtype not in DTYPES:
        raise RuntimeInputError(f"dtype: {dtype!r} is not one of float32, bfloat16, int8 or None (as stored)")


def convert(matrix: Matrix, dtype: str | None) -> Matrix:
    """Return a matrix in another type.

    Args:
        matrix: float32 or int8.
        dtype: ``float32``, ``bfloat16``, ``int8`` (rounded symmetrically, with a scale for every row), or None: as it
            is.
    """
    if dtype is None or (dtype == "int8") == (matrix.scales is not None):
        return matrix if dtype != "bfloat16" else Matrix(round_bfloat16(matrix.dense()))
    if dtype == "int8":
        return round_rows(matrix.dense())
    return Matrix(matrix.dense() if dtype == "float32" else round_bfloat16(matrix.dense()))


def round_rows(numbers: Floats) -> Matrix:
    """Round a matrix to int8; the largest magnitude of every row becomes 127."""
    scales = np.abs(numbers).max(1, initial=0).astype(np.float32) / np.float32(_LARGEST)
    steps = np.where(scales > 0, scales, np.float32(1))
    whole = np.rint(numbers / steps[:, None]).clip(-_LARGEST, _LARGEST)
    return Matrix(whole.astype(np.int8), scales)


def round_bfloat16(numbers: Floats) -> NDArray[np.uint16]:
    """Return the bits of the nearest numbers of bfloat16; of two equally near ones the even one."""
    bits = np.ascontiguousarray(numbers, np.float32).view(np.uint32)
    odd = (bits >> 16) & 1
    return ((bits + (odd + np.uint32(0x7FFF))) >> 16).astype(np.uint16)


def widen_scales(bits: NDArray[Any]) -> Floats:
    """Return scales that are stored as the bits of bfloat16 in int16.

    Raises:
        RuntimeInputError: one is infinite, NaN or beyond 1e18.
    """
    scales = (bits.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    if scales.size and not np.abs(scales).max() <= 1e18:
        raise RuntimeInputError("a scale is NaN or beyond 1e18")
    return scales
