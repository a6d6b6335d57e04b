"""The numbers in weight files: each tensor as it was written, none of them NaN or infinite."""

from collections.abc import Container, Sequence
from pathlib import Path

import torch
from torch import Tensor

from dsformer.errors import ArtefactError
from dsformer.huggingface.checkpoint import opened
from dsformer.huggingface.checksum import Record, checksum

_SCALES = ("weight_scale", "dictionary_scale")


def check_values(files: Sequence[Path], record: Record | None, unbounded: Container[str] = ()) -> None:
    """Read every tensor once.

    Args:
        files: of the weights.
        record: with their checksums; None: numbers alone are looked at.
        unbounded: names of tensors that may be infinite (masks).

    Raises:
        ArtefactError: a tensor is not the one that was written, or has NaN or Inf values.
    """
    for file in files:
        with opened(file) as weights:
            for name in weights.keys():  # noqa: SIM118 (not a mapping)
                tensor = weights.get_tensor(name)
                if record is not None and checksum(tensor) != record.tensors.get(name):
                    raise ArtefactError(f"{file}: {name} is damaged: its checksum is not the one it was written with")
                if name not in unbounded and not _is_finite(name, tensor):
                    raise ArtefactError(f"{file}: {name} has NaN or Inf values")


def _is_finite(name: str, tensor: Tensor) -> bool:
    if tensor.dtype == torch.int16 and name.endswith(_SCALES):
        tensor = tensor.view(torch.bfloat16)
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    # The least and the greatest of numbers with a NaN are NaN.
    least, greatest = torch.aminmax(tensor.float() if tensor.itemsize == 1 else tensor)
    return bool(torch.isfinite(least) and torch.isfinite(greatest))
