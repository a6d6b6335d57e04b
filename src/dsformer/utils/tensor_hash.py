"""Hash of named tensors: their names, types, shapes and values."""

from collections.abc import Mapping
from hashlib import blake2b

import torch
from torch import Tensor


def hash_tensors(hashed: blake2b, tensors: Mapping[str, Tensor]) -> None:
    """Feed the name, type, shape and bytes of every tensor to a hash."""
    for name, tensor in tensors.items():
        hashed.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        hashed.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
