"""Whole numbers of fewer than 8 bits, to bytes and back.

Every row of a matrix is a bit stream of two's complement numbers, least significant bit first, padded with zeros to a
whole byte at its end. The bytes are int8, which models know as numbers of a quantized layer (T5 converts its
activations to the type of any other weight). All by operations that can be part of a compiled graph.
"""

import torch
from jaxtyping import Int8, UInt8
from torch import Tensor
from torch.nn.functional import pad


def pack_integers(numbers: Int8[Tensor, "rows columns"], bits: int) -> Int8[Tensor, "rows bytes"]:
    """Numbers of the given range, ``bits`` apiece."""
    fields = (numbers.view(torch.uint8)[:, :, None] >> _places(bits, numbers)) & 1
    stream = pad(fields.flatten(1), (0, -numbers.shape[1] * bits % 8))
    return (
        (stream.unflatten(1, (stream.shape[1] // 8, 8)) << _places(8, numbers)).sum(2).to(torch.uint8).view(torch.int8)
    )


def unpack_integers(packed: Int8[Tensor, "rows bytes"], columns: int, bits: int) -> Int8[Tensor, "rows columns"]:
    """What was packed."""
    stream = ((packed.view(torch.uint8)[:, :, None] >> _places(8, packed)) & 1).flatten(1)
    fields = stream[:, : columns * bits].view(len(packed), columns, bits) << _places(bits, packed)
    whole, sign = fields.sum(2).to(torch.int8), 1 << (bits - 1)
    return (whole ^ sign) - sign


def _places(count: int, like: Tensor) -> UInt8[Tensor, " count"]:
    return torch.arange(count, dtype=torch.uint8, device=like.device)
