"""The numbers in weight files: each tensor as it was written, none of them NaN, infinite or beyond all reason."""

from collections.abc import Container, Sequence
from math import isfinite
from pathlib import Path

import torch
from torch import Tensor

from dsformer.errors import ArtefactError
from dsformer.models.checkpoint import opened
from dsformer.models.checksum import Record, compute_checksum

# Its square is at the end of float32: no model has such weights, but a flipped bit of an exponent gives them.
LARGEST = 1e18
_SCALES = ("weight_scale", "dictionary_scale")


def check_values(files: Sequence[Path], record: Record | None, unbounded: Container[str] = ()) -> None:
    """Read every tensor once.

    Args:
        files: of the weights.
        record: with their checksums; None: numbers alone are looked at.
        unbounded: names of tensors that may be infinite (masks).

    Raises:
        ArtefactError: a tensor is not the one that was written, or has NaN or Inf values, or larger ones than LARGEST.
    """
    for file in files:
        with opened(file) as weights:
            for name in weights.keys():  # noqa: SIM118 (not a mapping)
                tensor = weights.get_tensor(name)
                if record is not None and compute_checksum(tensor) != record.tensors.get(name):
                    raise ArtefactError(f"{file}: {name} is damaged: its checksum is not the one it was written with")
                if name not in unbounded and not (size := size_of(name, tensor)) <= LARGEST:
                    found = f"values of {size:.0e}, as no model has" if isfinite(size) else "NaN or Inf values"
                    raise ArtefactError(f"{file}: {name} has {found}")


def size_of(name: str, tensor: Tensor) -> float:
    """The magnitude of the largest number of a stored tensor, by its name; NaN where there is one."""
    if tensor.dtype == torch.int16 and name.endswith(_SCALES):
        tensor = tensor.view(torch.bfloat16)
    if not tensor.is_floating_point() or not tensor.numel():
        return 0.0
    least, greatest = torch.aminmax(tensor.float() if tensor.itemsize == 1 else tensor)
    return float(torch.maximum(-least, greatest))
