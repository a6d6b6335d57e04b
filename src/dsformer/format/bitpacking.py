"""Bit packing of integers of fewer than 8 bits.

Every row of a matrix is a bit stream of integers in two's complement, least significant bit first. The end of each row
is padded with zeros to a whole byte. The bytes have the type int8, which models recognize as the weight of a quantized
layer: T5 converts its activations to the type of any other weight. All operations can be traced into a compiled graph.
"""

import torch
from jaxtyping import Int8, UInt8
from torch import Tensor
from torch.nn.functional import pad


def pack_integers(numbers: Int8[Tensor, "rows columns"], bits: int) -> Int8[Tensor, "rows bytes"]:
    """Pack the rows of a matrix of integers, ``bits`` for each.

    Args:
        numbers: integers that fit into ``bits`` bits.
        bits: of one integer, 2 to 7.
    """
    fields = (numbers.view(torch.uint8)[:, :, None] >> _places(bits, numbers)) & 1
    stream = pad(fields.flatten(1), (0, -numbers.shape[1] * bits % 8))
    return (
        (stream.unflatten(1, (stream.shape[1] // 8, 8)) << _places(8, numbers)).sum(2).to(torch.uint8).view(torch.int8)
    )


def unpack_integers(packed: Int8[Tensor, "rows bytes"], columns: int, bits: int) -> Int8[Tensor, "rows columns"]:
    """Unpack what :func:`pack_integers` packed.

    Args:
        packed: the packed rows.
        columns: integers in a row.
        bits: of one integer, 2 to 7.
    """
    stream = ((packed.view(torch.uint8)[:, :, None] >> _places(8, packed)) & 1).flatten(1)
    fields = stream[:, : columns * bits].view(len(packed), columns, bits) << _places(bits, packed)
    whole, sign = fields.sum(2).to(torch.int8), 1 << (bits - 1)
    return (whole ^ sign) - sign


def _places(count: int, like: Tensor) -> UInt8[Tensor, " count"]:
    return torch.arange(count, dtype=torch.uint8, device=like.device)
