"""What calibration measured, kept on disk: the same model on the same text says the same again."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from dsformer.calibration.second_moments import Statistics
from dsformer.calibration.trace import Block
from dsformer.models.checkpoint import first_line
from dsformer.utils.atomic_io import write_file_atomically

_log = logging.getLogger("dsformer")

_TENSORS = ("grams", "output_grams", "counts")


def read_or_measure(
    directory: Path,
    model: nn.Module,
    batches: Sequence[Mapping[str, Tensor]],
    blocks: Sequence[Block],
    weighting: str,
    measure: Callable[[], Statistics],
) -> Statistics:
    """What was measured before of this model, text, blocks and weighting, or what ``measure`` finds, which is kept.

    A file that is damaged is as good as none. Where nothing can be kept, the log says so and the work goes on.

    Args:
        directory: with a file for everything measured; made where it is missing.
    """
    path = directory / f"{_digest(model, batches, blocks, weighting)}.safetensors"
    if (found := _read(path)) is None:
        found = measure()
        try:
            directory.mkdir(parents=True, exist_ok=True)
            _write(path, found)
        except (OSError, SafetensorError) as error:
            reason = getattr(error, "strerror", None) or first_line(error)
            _log.warning(
                "calibration cache: %s cannot be written (%s); what was measured is not kept", directory, reason
            )
    return found


def _digest(model: nn.Module, batches: Sequence[Mapping[str, Tensor]], blocks: Sequence[Block], weighting: str) -> str:
    """Names everything that the statistics depend on."""
    config = getattr(model, "config", None)
    described = [type(model).__name__, config.to_dict() if config else None, weighting, *(one.names for one in blocks)]
    hashed = blake2b(json.dumps(described, default=str).encode(), digest_size=16)
    for named in (model.state_dict(), *batches):
        _hash(hashed, named)
    return hashed.hexdigest()


def _hash(hashed: blake2b, tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        hashed.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        hashed.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)


def _checksum(tokens: int, tensors: Mapping[str, Tensor]) -> str:
    """Of all that a file holds."""
    hashed = blake2b(str(tokens).encode(), digest_size=16)
    _hash(hashed, dict(sorted(tensors.items())))
    return hashed.hexdigest()


def _read(path: Path) -> Statistics | None:
    """None where there is none, or none that is as it was written."""
    try:
        with safe_open(path, "pt") as file:
            said, tensors = file.metadata() or {}, {name: file.get_tensor(name) for name in list(file.keys())}
        tokens, checksum = said["tokens"].split()
        if checksum != _checksum(int(tokens), tensors):
            return None
    except (SafetensorError, OSError, KeyError, ValueError):
        return None
    found = Statistics()
    found.tokens = int(tokens)
    for key, tensor in tensors.items():
        group, _, name = key.partition("/")
        getattr(found, group)[name] = tensor
    return found


def _write(path: Path, found: Statistics) -> None:
    tensors = {f"{group}/{name}": one.contiguous() for group in _TENSORS for name, one in getattr(found, group).items()}
    # In one: safetensors writes several in any order, and a file measured twice would not have the same bytes.
    said = f"{found.tokens} {_checksum(found.tokens, tensors)}"
    with write_file_atomically(path) as fresh:
        save_file(tensors, fresh, {"tokens": said})
