"""Linear layers packed for the kernels."""

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsformer_runtime.errors import RuntimeInputError
from dsformer_runtime.model import Activation, Floats, Linear, Matrix
from dsformer_runtime.native.library import open_library
from dsformer_runtime.native.structs import ACTIVATIONS, NUMBERS, LinearStruct, MatrixStruct

# A matrix with fewer non-zeros than this part is multiplied as a sparse one.
SPARSE_BELOW = 0.55


def stack_linears(linears: Sequence[Linear]) -> list[Linear]:
    """Return layers of one input with as many as possible made one: those that share a dictionary, and dense ones."""
    stacked = list(linears[:1])
    for linear in linears[1:]:
        joined = _stacked(stacked[-1], linear)
        stacked[-1:] = [stacked[-1], linear] if joined is None else [joined]
    return stacked


def _stacked(first: Linear, second: Linear) -> Linear | None:
    if first.inner is not second.inner:
        return None
    outer, direct = _joined(first.outer, second.outer), _joined(first.direct, second.direct)
    if (outer is None) != (first.outer is None) or (direct is None) != (first.direct is None):
        return None
    biases = [
        np.zeros(linear.out_features, np.float32) if linear.bias is None else linear.bias for linear in (first, second)
    ]
    return Linear(first.inner, outer, direct, np.concatenate(biases))


def _joined(first: Matrix | None, second: Matrix | None) -> Matrix | None:
    if first is None or second is None or first.values.dtype != second.values.dtype:
        return None
    values = np.concatenate([first.values, second.values])
    if first.scales is None or second.scales is None:
        return Matrix(values)
    return Matrix(values, np.concatenate([first.scales, second.scales]))


class Arrays:
    """Contiguous arrays that a call into the library reads, kept alive with this object."""

    def __init__(self) -> None:
        self._kept: list[NDArray] = []

    def address(self, array: NDArray | None, dtype: Any = None) -> int | None:
        """Return the address of a contiguous array, of this type where one is given; None for None."""
        if array is None:
            return None
        self._kept.append(np.ascontiguousarray(array, dtype))
        return self._kept[-1].ctypes.data


class NativeLinear:
    """A linear layer packed for the instruction set in use.

    Raises:
        RuntimeInputError: there is no library, or the sizes of its matrices do not fit.
    """

    def __init__(self, linear: Linear):
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self._library = load_library()
        arrays = Arrays()
        spec = LinearStruct(
            ctypes.sizeof(LinearStruct),
            _matrix(linear.inner, arrays),
            _matrix(linear.outer, arrays),
            _matrix(linear.direct, arrays),
            arrays.address(linear.bias, np.float32),
        )
        self.handle = created(self._library.dsf_linear_create, spec, "a linear layer")

    def __del__(self) -> None:
        if getattr(self, "handle", None):
            self._library.dsf_linear_free(self.handle)

    @property
    def nbytes(self) -> int:
        """Bytes of the packed weights."""
        return self._library.dsf_linear_bytes(self.handle)

    def run(self, x: Floats, activation: Activation = "identity", threads: int = 1) -> Floats:
        """Return activation(linear(x)) (rows, out) for x (rows, in).

        Args:
            x: the inputs.
            activation: applied to the result.
            threads: at most so many.
        """
        x = np.ascontiguousarray(x, np.float32)
        y = np.empty((len(x), self.out_features), np.float32)
        if x.shape[1] != self.in_features:
            raise RuntimeInputError(f"inputs of length {x.shape[1]}, where a layer wants {self.in_features}")
        code = self._library.dsf_linear_run(
            self.handle, x.ctypes.data, len(x), ACTIVATIONS[activation], y.ctypes.data, threads
        )
        check(code, "a linear layer")
        return y


def load_library() -> ctypes.CDLL:
    """Return the native library.

    Raises:
        RuntimeInputError: there is none for this platform.
    """
    library = open_library()
    if library is None:
        raise RuntimeInputError(
            "the native library is missing: install a wheel of dsformer-runtime for this platform, "
            "or build it with a C++20 compiler"
        )
    return library


def created(create: Callable[..., Any], spec: ctypes.Structure, what: str) -> int:
    """Return the handle that a function of the library makes of a spec.

    Args:
        create: the function.
        spec: its argument.
        what: is made, for the error.

    Raises:
        RuntimeInputError: it could not be made.
    """
    error = ctypes.c_int()
    handle = create(ctypes.byref(spec), ctypes.byref(error))
    check(error.value, what)
    return handle


def check(code: int, what: str) -> None:
    """Raise the error that a code of the library stands for.

    Raises:
        RuntimeInputError: the code is not 0.
    """
    if code:
        raise RuntimeInputError(f"{what}: {load_library().dsf_error_string(code).decode()}")


def handles(linears: Sequence[NativeLinear]) -> ctypes.Array:
    """Return an array of the handles of layers."""
    return (ctypes.c_void_p * len(linears))(*(linear.handle for linear in linears))


def _matrix(matrix: Matrix | None, arrays: Arrays) -> MatrixStruct:
    if matrix is None:
        return MatrixStruct()
    rows, columns = matrix.shape
    sparse = bool(np.count_nonzero(matrix.values) < SPARSE_BELOW * rows * columns)
    # Sparse products of bfloat16 are those of the same numbers in float32.
    numbers = matrix.dense() if sparse and matrix.values.dtype == np.uint16 else matrix.values
    number = NUMBERS[str(numbers.dtype)]
    values, scales = arrays.address(numbers), arrays.address(matrix.scales, np.float32)
    return MatrixStruct(number, sparse, rows, columns, values, scales)
