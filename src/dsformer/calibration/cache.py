"""What calibration measured, kept on disk: the same model on the same text says the same again."""

import json
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from dsformer.calibration.blocks import Block
from dsformer.calibration.grams import Statistics
from dsformer.errors import InputError
from dsformer.files import appearing_file

_TENSORS = ("grams", "output_grams", "counts")


def cached(
    directory: Path,
    model: nn.Module,
    batches: Sequence[Mapping[str, Tensor]],
    blocks: Sequence[Block],
    weighting: str,
    measure: Callable[[], Statistics],
) -> Statistics:
    """What was measured before of this model, text, blocks and weighting, or what ``measure`` finds, which is kept.

    Args:
        directory: with a file for everything measured; made where it is missing.

    Raises:
        InputError: the directory cannot be made.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"calibration cache: {directory} cannot be made: {error.strerror}") from None
    path = directory / f"{_digest(model, batches, blocks, weighting)}.safetensors"
    if (found := _read(path)) is None:
        found = measure()
        _write(path, found)
    return found


def _digest(model: nn.Module, batches: Sequence[Mapping[str, Tensor]], blocks: Sequence[Block], weighting: str) -> str:
    """Names everything that the statistics depend on."""
    config = getattr(model, "config", None)
    described = [type(model).__name__, config.to_dict() if config else None, weighting, *(one.names for one in blocks)]
    hashed = blake2b(json.dumps(described, default=str).encode(), digest_size=16)
    for named in (model.state_dict(), *batches):
        for name, tensor in named.items():
            hashed.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            hashed.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return hashed.hexdigest()


def _read(path: Path) -> Statistics | None:
    """None where there is none, or none that is whole."""
    if not path.is_file():
        return None
    found = Statistics()
    try:
        with safe_open(path, "pt") as file:
            found.tokens = int((file.metadata() or {})["tokens"])
            keys = file.keys()
            for key in keys:
                group, _, name = key.partition("/")
                getattr(found, group)[name] = file.get_tensor(key)
    except (SafetensorError, KeyError):
        return None
    return found


def _write(path: Path, found: Statistics) -> None:
    tensors = {f"{group}/{name}": one.contiguous() for group in _TENSORS for name, one in getattr(found, group).items()}
    with appearing_file(path) as fresh:
        save_file(tensors, fresh, {"tokens": str(found.tokens)})
