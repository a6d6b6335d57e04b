"""Capabilities of the processor: fast bfloat16 products, number of threads."""

import os
from functools import cache

import torch

from dsformer.errors import InputError

# More threads than this for each processor are a mistake. They may also be more than can be started, which ends the
# process inside the library that starts them.
MOST_THREADS = 4


@cache
def fast_bf16() -> bool:
    """Return whether the processor multiplies matrices of bfloat16 faster than of single precision.

    Conversions alone (AVX-512 without its bf16 products) are no gain.
    """
    mkldnn = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    products = (getattr(torch.cpu, f"_is_{name}_supported", lambda: False) for name in ("avx512_bf16", "amx_tile"))
    return bool(mkldnn()) and any(supported() for supported in products)


def check_threads(count: int, what: str) -> None:
    """Check a number of threads before they are started.

    Args:
        count: threads asked for.
        what: the option that asks for them, for the message.

    Raises:
        InputError: the number is less than 1, or more than ``MOST_THREADS`` for each processor.
    """
    most = MOST_THREADS * (os.cpu_count() or 1)
    if not 1 <= count <= most:
        raise InputError(f"{what}: {count} is not from 1 to {most}, {MOST_THREADS} for each processor")
