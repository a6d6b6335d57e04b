"""What the processor does fast, and how many there are."""

import os
from functools import cache

import torch

from dsformer.errors import InputError

# More than so many threads for each processor are a mistake, and may be more than can be started: that ends the process
# inside the library that starts them.
MOST_THREADS = 4


@cache
def fast_bf16() -> bool:
    """Whether it multiplies matrices of bfloat16 faster than of single precision.

    Conversions alone (AVX-512 without its bf16 products) are no gain.
    """
    mkldnn = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    products = (getattr(torch.cpu, f"_is_{name}_supported", lambda: False) for name in ("avx512_bf16", "amx_tile"))
    return bool(mkldnn()) and any(supported() for supported in products)


def check_threads(count: int, what: str) -> None:
    """Raises InputError before the work: so many threads, asked for by ``what``, are far more than processors."""
    most = MOST_THREADS * (os.cpu_count() or 1)
    if not 1 <= count <= most:
        raise InputError(f"{what}: {count} is not from 1 to {most}, {MOST_THREADS} for each processor")
