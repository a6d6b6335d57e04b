"""What the processor does fast."""

from functools import cache

import torch


@cache
def fast_bf16() -> bool:
    """Whether it multiplies matrices of bfloat16 faster than of single precision.

    Conversions alone (AVX-512 without its bf16 products) are no gain.
    """
    mkldnn = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    products = (getattr(torch.cpu, f"_is_{name}_supported", lambda: False) for name in ("avx512_bf16", "amx_tile"))
    return bool(mkldnn()) and any(supported() for supported in products)
