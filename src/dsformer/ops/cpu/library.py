"""The native library with ctypes; its interface is documented in runtime/csrc/include/dsformer.h."""

import ctypes
import functools
from ctypes import POINTER, c_int, c_int32, c_int64, c_uint32, c_void_p

import torch
from torch import Tensor

from dsformer.errors import InputError
from dsformer_runtime.native.library import open_library
from dsformer_runtime.native.structs import TableStruct
from dsformer_runtime.native.threads import share_threads

DTYPES = {torch.float32: 0, torch.bfloat16: 1}
WEIGHTS = {**DTYPES, torch.int8: 2}


class FormStruct(ctypes.Structure):
    """``dsf_form`` of the C interface."""

    _fields_ = (
        ("struct_size", c_uint32),
        ("orientation", c_int32),
        ("dtype", c_int32),
        ("weights", c_int32),
        ("activation", c_int32),
        ("units", c_int64),
        ("width", c_int64),
        ("atoms", c_int64),
        ("core", c_int64),
        ("nonzeros", c_int64),
        ("group", c_int64),
        ("out_features", c_int64),
        ("canonical", c_int32),
        ("members", c_int32),
        ("member_sizes", POINTER(c_int64)),
        ("dictionary", c_void_p),
        ("values", c_void_p),
        ("indices", c_void_p),
        ("permutation", c_void_p),
        ("bias", c_void_p),
        ("dictionary_scales", c_void_p),
        ("value_scales", c_void_p),
    )


class TuningStruct(ctypes.Structure):
    """``dsf_tuning`` of the C interface; zeros leave the choice to the library."""

    _fields_ = (
        ("panel_vectors", c_int32),
        ("small_tokens", c_int32),
        ("block_bytes", c_int32),
        ("unpaired", c_int32),
    )


def address(tensor: Tensor | None) -> int | None:
    """Return the address of a tensor's data; None for no tensor or an empty one."""
    return None if tensor is None or not tensor.numel() else tensor.data_ptr()


def available() -> bool:
    """Return whether native kernels can be used."""
    return library() is not None


def describe() -> str:
    """Return the instruction set in use, or the reason why the reference kernels are used."""
    loaded = library()
    return "reference (native library not found)" if loaded is None else loaded.dsf_isa_name().decode()


def set_isa(name: str | None) -> None:
    """Set the instruction set of plans made from now on; None: the best one.

    Raises:
        InputError: it is not supported here.
    """
    loaded = library()
    if loaded is None or loaded.dsf_set_isa(None if name is None else name.encode()):
        raise InputError(f"instruction set: {name!r} is not supported here")


@functools.cache
def library() -> ctypes.CDLL | None:
    """Return the native library with its functions declared; None where there is none."""
    loaded = open_library()
    if loaded is not None:
        _declare(loaded)
        share_threads(loaded)
    return loaded


def _declare(loaded: ctypes.CDLL) -> None:
    signatures: dict[str, tuple[type | None, list]] = {
        "dsf_plan_create": (c_void_p, [POINTER(FormStruct), POINTER(TuningStruct), POINTER(c_int)]),
        "dsf_plan_free": (None, [c_void_p]),
        "dsf_plan_tuning": (TuningStruct, [c_void_p]),
        "dsf_plan_bytes": (c_int64, [c_void_p]),
        "dsf_table_read": (c_int, [POINTER(TableStruct), c_void_p, c_int64, c_void_p, c_int]),
        "dsf_plan_run": (c_int, [c_void_p, c_void_p, c_int64, c_int64, c_void_p, c_void_p, c_int]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
