"""Loading of the native library with ctypes."""

import ctypes
import functools
import os
import sys
import warnings
from ctypes import POINTER, c_char_p, c_int, c_int64, c_void_p
from pathlib import Path

ABI_VERSION = 5
_NAMES = {"darwin": "libdsformer_cpu.dylib", "win32": "dsformer_cpu.dll"}


@functools.cache
def open_library() -> ctypes.CDLL | None:
    """Load the library; None, with a warning, where it is missing, damaged or of another interface version.

    ``DSFORMER_CPU_LIBRARY`` names another file, ``DSFORMER_ISA`` an instruction set.
    """
    path = os.path.expanduser(os.environ.get("DSFORMER_CPU_LIBRARY", "")) or _beside()
    if path is None:
        return None
    try:
        loaded = ctypes.CDLL(str(path))
        if loaded.dsf_abi_version() != ABI_VERSION:
            raise OSError(f"its interface is version {loaded.dsf_abi_version()}, not {ABI_VERSION}")
    except (OSError, AttributeError) as error:
        warnings.warn(f"native kernels not used, {path} cannot be loaded: {error}", stacklevel=2)
        return None
    _declare(loaded)
    wanted = os.environ.get("DSFORMER_ISA")
    if wanted and loaded.dsf_set_isa(wanted.encode()):
        warnings.warn(f"DSFORMER_ISA: {wanted!r} is not supported here", stacklevel=2)
    return loaded


def _declare(loaded: ctypes.CDLL) -> None:
    signatures: dict[str, tuple[type | None, list]] = {
        "dsf_error_string": (c_char_p, [c_int]),
        "dsf_isa_name": (c_char_p, []),
        "dsf_set_isa": (c_int, [c_char_p]),
        "dsf_set_parallel": (None, [c_void_p]),
        "dsf_linear_create": (c_void_p, [c_void_p, POINTER(c_int)]),
        "dsf_linear_free": (None, [c_void_p]),
        "dsf_linear_bytes": (c_int64, [c_void_p]),
        "dsf_linear_run": (c_int, [c_void_p, c_void_p, c_int64, c_int, c_void_p, c_int]),
        "dsf_encoder_create": (c_void_p, [c_void_p, POINTER(c_int)]),
        "dsf_encoder_free": (None, [c_void_p]),
        "dsf_encoder_run": (c_int, [c_void_p] * 4 + [c_int64, c_int, c_int, c_void_p, c_int]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments


def _beside() -> Path | None:
    """Return the path of the library in this package.

    In an editable install it is in another folder of the package's search path.
    """
    name = _NAMES.get(sys.platform, "libdsformer_cpu.so")
    package = sys.modules["dsformer_runtime"]
    folders = [Path(__file__).parents[1], *map(Path, package.__path__)]
    return next((folder / name for folder in folders if (folder / name).exists()), None)
