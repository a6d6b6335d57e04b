"""Checksums of an artefact's tensors, and the configuration they belong to, as recorded when it was written.

The record is in ``quantization_config`` as ``written``. Its ``tensors`` are the CRC-32 of every tensor by name.
``tied`` lists groups of names of one and the same tensor, of which one is stored. ``config`` has the fields of
``config.json`` that must not change, and ``blocks`` is a digest of the compressed blocks. The record detects damage and
mistakes. It does not protect against somebody who writes a new record. Artefacts written before the record was
introduced have none. It is not in the headers of the weight files: safetensors writes metadata there in any order, and
a model saved twice would not have the same bytes.
"""

import json
import os
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from dsformer.errors import ArtefactError
from dsformer.format.schema import BlockConfig, parse_blocks
from dsformer.models.checkpoint import CONFIG
from dsformer.models.config import DSFormerConfig, read_config

SWITCH = "DSFORMER_VERIFY"
_TAG = "__float__"

# Fields that may change, as outputs do not depend on them: names, labels, and what transformers rewrites itself.
_FREE = frozenset(
    {
        "_name_or_path",
        "transformers_version",
        "auto_map",
        "id2label",
        "label2id",
        "problem_type",
        "finetuning_task",
        "task_specific_params",
        "quantization_config",
    }
)
_ADVICE = f"load the whole one, change and save that, or set {SWITCH}=0"


@dataclass(frozen=True)
class Record:
    """What was written; see the module's docstring for its fields."""

    tensors: dict[str, str]
    blocks: str
    config: dict[str, Any]
    tied: list[list[str]] = field(default_factory=list)


def make_record(model: PreTrainedModel) -> dict[str, Any] | None:
    """Compute the record of a model that is about to be saved; None if it cannot have one.

    That is a model whose tensors are not all in memory (offloaded, or sharded over several devices), or one of which
    only adapters are saved.
    """
    config: Any = model.config
    if getattr(model, "_hf_peft_config_loaded", False):
        return None
    ignored = set(getattr(model, "_keys_to_ignore_on_save", None) or ())
    tensors = {name: tensor for name, tensor in model.state_dict().items() if name not in ignored}
    if any(tensor.device.type == "meta" or type(tensor) is not Tensor for tensor in tensors.values()):
        return None
    places: dict[tuple, list[str]] = {}
    for name, tensor in tensors.items():
        if tensor.numel():
            places.setdefault((tensor.device, tensor.data_ptr(), tensor.shape, tensor.stride()), []).append(name)
    record = Record(
        {name: compute_checksum(tensor) for name, tensor in tensors.items()},
        _digest(config.quantization_config.blocks),
        _held(_written(model)),
        [names for names in places.values() if len(names) > 1],
    )
    return asdict(record)


def compute_checksum(tensor: Tensor) -> str:
    """Compute the CRC-32 of a tensor's type, shape and bytes.

    It is as fast as memory is read, and it only has to detect damage.
    """
    start = zlib.crc32(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
    data = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
    return f"{zlib.crc32(data.data, start):08x}"


def check_record(compression: DSFormerConfig, directory: Path, headers: Iterable[str]) -> Record | None:
    """Compare the names of stored tensors, and the configuration beside them, with the record.

    Args:
        compression: the configuration that holds the record.
        directory: the directory of ``config.json``; without that file only the names are compared.
        headers: names of the stored tensors.

    Returns:
        The record; None if there is none, or the environment variable DSFORMER_VERIFY is 0.

    Raises:
        ArtefactError: they are not what was written.
    """
    if compression.written is None or os.environ.get(SWITCH) == "0":
        return None
    path = directory / CONFIG
    try:
        record = _parsed(compression.written)
    except (ValueError, TypeError):
        raise ArtefactError(f"{path}: its record of checksums is damaged") from None
    _check_names(record, headers)
    if path.is_file():
        config, stored = read_config(directory)
        try:
            _check_config(record, config, stored.blocks)
        except ArtefactError as error:
            raise ArtefactError(f"{path}: {error}") from None
    return record


def _parsed(fields: dict[str, Any]) -> Record:
    """Parse the fields of a record.

    Raises:
        ValueError: a field is missing or of the wrong type.
        TypeError: a field is unknown.
    """
    tensors, together = fields.get("tensors"), fields.get("tied", [])
    sums = isinstance(tensors, dict) and all(isinstance(one, str) for one in tensors.values())
    tied = isinstance(together, list) and all(isinstance(names, list) for names in together)
    if not (sums and tied and isinstance(fields.get("config"), dict) and isinstance(fields.get("blocks"), str)):
        raise ValueError
    # transformers parses the configuration that holds this record, and decodes infinite numbers in it.
    return Record(**{**fields, "config": _encoded(fields["config"])})


def _check_names(record: Record, stored: Iterable[str]) -> None:
    """Check that the names of the stored tensors are those that were written.

    Raises:
        ArtefactError: a tensor is missing, or was not written.
    """
    names = set(stored)
    if extra := sorted(names - record.tensors.keys()):
        raise ArtefactError(f"{extra[0]}: is in the weights, but was not written with them")
    kept = names.union(*(tied for tied in record.tied if names.intersection(tied)))
    if missing := sorted(record.tensors.keys() - kept):
        raise ArtefactError(f"{missing[0]} is not in the weights")


def _check_config(record: Record, config: Mapping[str, Any], blocks: Sequence[BlockConfig]) -> None:
    """Check that ``config.json`` means what it meant when it was written.

    Names and labels may have changed. Fields at their default may have been added or omitted, as programs that rewrite
    the configuration do.

    Raises:
        ArtefactError: another field has changed.
    """
    if _digest(blocks) != record.blocks:
        raise ArtefactError(f"quantization_config.blocks is not what was written; {_ADVICE}")
    held = _held(config)
    for name in sorted(held.keys() & record.config.keys()):
        if held[name] != record.config[name]:
            raise ArtefactError(f"{name} is {_short(held[name])}, {_short(record.config[name])} was written; {_ADVICE}")
    if other := _not_at_default(record.config, held):
        raise ArtefactError(f"{other} was {'added' if other in held else 'taken out'}; {_ADVICE}")


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _not_at_default(written: dict[str, Any], held: dict[str, Any]) -> str | None:
    """Return a field that only one of two configurations has and that is not at its default; None if there is none.

    Generation settings may be missing: when a model is saved they move to a separate file.
    """
    extra = sorted(held.keys() - written.keys())
    gone = sorted(written.keys() - held.keys() - vars(GenerationConfig()).keys())
    model_type = str(written.get("model_type"))
    if not (extra or gone) or model_type not in CONFIG_MAPPING:
        return next(iter([*extra, *gone]), None)
    kind = CONFIG_MAPPING[model_type]
    plain = _decoded(written)
    whole = _encoded(kind.from_dict(plain).to_dict())
    rest = _encoded(kind.from_dict({name: value for name, value in plain.items() if name in held}).to_dict())
    nothing = object()
    changed = [name for name in extra if whole.get(name, nothing) != held[name]]
    changed += [name for name in gone if rest.get(name, nothing) != written[name]]
    return next(iter(changed), None)


def _written(model: PreTrainedModel) -> dict[str, Any]:
    """Return the fields of ``config.json`` as transformers is about to write them."""
    fields = json.loads(model.config.to_json_string(use_diff=True))
    architecture = type(model).__name__.removeprefix("FSDP")
    return {**fields, "architectures": [architecture], "dtype": str(model.dtype).removeprefix("torch.")}


def _held(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a configuration that must not change, under their present names."""
    fields = {"dtype" if name == "torch_dtype" else name: one for name, one in config.items() if name not in _FREE}
    return _encoded(fields)


def _encoded(value: Any) -> Any:
    """Encode infinite and NaN values in JSON data as objects, as transformers 5 writes and reads them."""
    if isinstance(value, dict):
        return {key: _encoded(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_encoded(one) for one in value]
    if isinstance(value, float) and not isfinite(value):
        return {_TAG: json.dumps(value)}
    return value


def _decoded(value: Any) -> Any:
    """Decode the numbers that :func:`_encoded` has written as objects."""
    if isinstance(value, dict):
        if value.keys() == {_TAG} and value[_TAG] in ("NaN", "Infinity", "-Infinity"):
            return json.loads(value[_TAG])
        return {key: _decoded(one) for key, one in value.items()}
    return [_decoded(one) for one in value] if isinstance(value, list) else value


def _digest(blocks: Sequence[BlockConfig]) -> str:
    """Compute a digest of the compressed blocks."""
    described = [block.model_dump(mode="json", exclude_defaults=True) for block in parse_blocks(list(blocks))]
    return blake2b(json.dumps(described, sort_keys=True).encode(), digest_size=8).hexdigest()
