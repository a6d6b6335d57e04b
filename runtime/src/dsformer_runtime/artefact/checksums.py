"""The record of checksums of an artefact: what was written, compared with what is there.

The record is ``written`` in ``quantization_config``; ``docs/artefact.md`` says what it holds. It detects damage and
mistakes, not forgery. Artefacts without a record load without this check, and so do all with ``DSFORMER_VERIFY=0``.
"""

import json
import os
import zlib
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from dsformer_runtime.artefact.schema import Block, Compression, digest
from dsformer_runtime.artefact.tensors import Tensors
from dsformer_runtime.errors import RuntimeInputError

SWITCH = "DSFORMER_VERIFY"
_ADVICE = f"load the whole one with PyTorch, change and save that, or set {SWITCH}=0"
# Fields that may change, as outputs do not depend on them.
_FREE = frozenset(
    {
        *("_name_or_path", "transformers_version", "auto_map", "id2label", "label2id", "problem_type"),
        *("finetuning_task", "task_specific_params", "quantization_config"),
    }
)
_NAMES = {
    **{"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32"},
    **{"I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool"},
}
_NOTHING = object()


def check_record(
    compression: Compression, config: Mapping[str, Any], tensors: Tensors, defaults: Mapping[str, Any]
) -> None:
    """Compare an artefact with its record, if it has one.

    Args:
        compression: the blocks and the record.
        config: all of ``config.json``.
        tensors: the stored tensors, all of which are read.
        defaults: of the fields of ``config`` that this runtime reads. A field that only one side has must be at its
            default; other ones have no effect here.

    Raises:
        RuntimeInputError: something is not what was written.
    """
    record = compression.written
    if record is None or os.environ.get(SWITCH) == "0":
        return
    sums, tied = record.get("tensors"), record.get("tied", [])
    good = isinstance(sums, dict) and isinstance(tied, list) and isinstance(record.get("config"), dict)
    good = good and all(isinstance(group, list) for group in tied)
    if not good or not all(isinstance(one, str) for group in tied for one in group):
        raise RuntimeInputError("the record of checksums is damaged")
    assert isinstance(sums, dict)
    _check_names(sums, tied, set(tensors))
    _check_config(record, config, compression.blocks, defaults)
    for name in tensors:
        if checksum(tensors, name) != sums[name]:
            raise RuntimeInputError(f"{name}: is not what was written; the file is damaged, or of another artefact")


def checksum(tensors: Tensors, name: str) -> str:
    """Compute the CRC-32 of a tensor's type, shape and bytes."""
    header = tensors.header(name)
    start = zlib.crc32(f"torch.{_NAMES[header.dtype]} {header.shape}".encode())
    return f"{zlib.crc32(header.raw.data, start):08x}"


def _check_names(sums: Mapping[str, Any], tied: Sequence[Sequence[str]], names: set[str]) -> None:
    if extra := sorted(names - sums.keys()):
        raise RuntimeInputError(f"{extra[0]}: is in the weights, but was not written with them")
    kept = names.union(*(group for group in tied if names.intersection(group)))
    if missing := sorted(sums.keys() - kept):
        raise RuntimeInputError(f"{missing[0]} is not in the weights")


def _check_config(
    record: Mapping[str, Any], config: Mapping[str, Any], blocks: Sequence[Block], defaults: Mapping[str, Any]
) -> None:
    if digest(blocks) != record.get("blocks"):
        raise RuntimeInputError(f"quantization_config.blocks is not what was written; {_ADVICE}")
    held, written = _held(config), _encoded(record["config"])
    for name in sorted(held.keys() | written.keys()):
        default = defaults.get(name, _NOTHING)
        if default is _NOTHING and not (name in held and name in written):
            continue
        now, before = held.get(name, default), written.get(name, default)
        if now != before:
            raise RuntimeInputError(f"{name} is {_short(now)}, {_short(before)} was written; {_ADVICE}")


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _held(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a configuration that must not change, under their present names."""
    return {
        "dtype" if name == "torch_dtype" else name: _encoded(one) for name, one in config.items() if name not in _FREE
    }


def _encoded(value: Any) -> Any:
    """Encode infinite and NaN values in JSON data as objects, as transformers 5 writes them."""
    if isinstance(value, dict):
        return {key: _encoded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_encoded(one) for one in value]
    if isinstance(value, float) and not isfinite(value):
        return {"__float__": json.dumps(value)}
    return value
