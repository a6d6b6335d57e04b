"""OpenMP runtime of PyTorch, whose threads the native kernels use."""

import ctypes
import os
import sys
from pathlib import Path

import torch

_RUNTIMES = ("libgomp", "libiomp5", "libomp")


def gomp_parallel() -> int | None:
    """Return the address of ``GOMP_parallel`` (all OpenMP runtimes export it); None when no runtime is loaded.

    Other packages may have loaded another runtime: PyTorch's comes first.
    """
    home = Path(torch.__file__).parent
    paths = [path for path in _loaded() if Path(path).name.startswith(_RUNTIMES)]
    for path in sorted(paths, key=lambda path: home not in Path(path).parents):
        try:
            runtime = ctypes.CDLL(path, mode=os.RTLD_NOLOAD | os.RTLD_LOCAL)
            return ctypes.cast(runtime.GOMP_parallel, ctypes.c_void_p).value
        except (OSError, AttributeError):
            continue
    return None


def _loaded() -> list[str]:
    """Return the files of the shared libraries in this process."""
    if sys.platform == "darwin":
        process = ctypes.CDLL(None)
        process._dyld_get_image_name.restype = ctypes.c_char_p
        names = [process._dyld_get_image_name(i) for i in range(process._dyld_image_count())]
        return [name.decode() for name in names if name]
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return []
    return list(dict.fromkeys(line.split(maxsplit=5)[5] for line in lines if line.count("/")))
