"""Cache of calibration statistics on disk, keyed by a digest of the model and of the text."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from dsformer.calibration.second_moments import Statistics
from dsformer.calibration.trace import Block
from dsformer.models.checkpoint import first_line
from dsformer.utils.atomic_io import write_file_atomically
from dsformer.utils.tensor_hash import hash_tensors

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
    """Read the statistics of this model, text, blocks and weighting, or measure and keep them.

    A damaged file is measured again. Where nothing can be written, the log says so and the run continues.

    Args:
        directory: holds a file for every measurement; made where it is missing.
        model: the dense model.
        batches: the calibration text.
        blocks: the blocks measured, tables included.
        weighting: as of :func:`dsformer.calibration.calibrate.calibrate`.
        measure: called where no file is found.
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
    """Compute the name of a measurement from everything that the statistics depend on."""
    config = getattr(model, "config", None)
    described = [type(model).__name__, config.to_dict() if config else None, weighting, *(one.names for one in blocks)]
    hashed = blake2b(json.dumps(described, default=str).encode(), digest_size=16)
    for named in (model.state_dict(), *batches):
        hash_tensors(hashed, named)
    return hashed.hexdigest()


def _checksum(tokens: int, tensors: Mapping[str, Tensor]) -> str:
    """Compute the checksum of all that a file holds."""
    hashed = blake2b(str(tokens).encode(), digest_size=16)
    hash_tensors(hashed, dict(sorted(tensors.items())))
    return hashed.hexdigest()


def _read(path: Path) -> Statistics | None:
    """Read statistics; None: there is no file, or it is damaged."""
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
    # In one field: safetensors writes several in any order, and a file measured twice would not have the same bytes.
    said = f"{found.tokens} {_checksum(found.tokens, tensors)}"
    with write_file_atomically(path) as fresh:
        save_file(tensors, fresh, {"tokens": said})
