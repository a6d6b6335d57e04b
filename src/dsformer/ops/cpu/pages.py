"""Large memory pages for large new tensors.

The C library returns memory of this size to the system when it is freed, so that every new tensor consists of fresh
pages. Taking them 4 KB at a time costs as much as a third of the product that fills them.
"""

import ctypes
import functools
import mmap
from collections.abc import Callable

from torch import Tensor

# Bytes from which glibc never keeps freed memory (DEFAULT_MMAP_THRESHOLD_MAX).
LARGE = 32 * 1024 * 1024


def use_large_pages(new: Tensor) -> None:
    """Ask for large pages below a tensor that has not been written to yet.

    Where the system has no large pages, nothing happens.
    """
    advise = _madvise()
    if advise is None:
        return
    first = -(-new.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
    advise(first, new.data_ptr() + new.nbytes - first, mmap.MADV_HUGEPAGE)


@functools.cache
def _madvise() -> Callable[[int, int, int], int] | None:
    if not hasattr(mmap, "MADV_HUGEPAGE"):
        return None
    function = ctypes.CDLL(None).madvise
    function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return function
