"""Checks of the values in weight files: each tensor as it was written, without NaN, infinite or absurdly large ones."""

from collections.abc import Container, Sequence
from math import isfinite
from pathlib import Path

import torch
from torch import Tensor

from dsformer.errors import ArtefactError
from dsformer.models.checkpoint import opened
from dsformer.models.checksum import Record, compute_checksum

# Its square is at the limit of float32. No model has such weights, but a flipped exponent bit produces them.
LARGEST = 1e18
_SCALES = ("weight_scale", "dictionary_scale")


def check_values(files: Sequence[Path], record: Record | None, unbounded: Container[str] = ()) -> None:
    """Read every tensor once and check its values, and its checksum where there is one.

    Args:
        files: the weight files.
        record: holds the checksums of the tensors; None: only the values are checked.
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
    """Return the largest magnitude in a stored tensor; NaN if it has NaN values, 0 for integers.

    The name identifies scales, which are stored as int16 and hold the bits of bfloat16.
    """
    if tensor.dtype == torch.int16 and name.endswith(_SCALES):
        tensor = tensor.view(torch.bfloat16)
    if not tensor.is_floating_point() or not tensor.numel():
        return 0.0
    least, greatest = torch.aminmax(tensor.float() if tensor.itemsize == 1 else tensor)
    return float(torch.maximum(-least, greatest))
