"""Artefacts: writing a compressed model as a directory, complete or not at all, and checking it before it is loaded."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from dsformer.errors import ArtefactError, InputError
from dsformer.format.schema import BlockConfig
from dsformer.models.auxiliary_files import copy_auxiliary_files, read_card_metadata
from dsformer.models.checkpoint import Header, read_directory, weight_files
from dsformer.models.checksum import check_record
from dsformer.models.config import DSFormerConfig, read_config
from dsformer.models.directory import MODULES, ModelDirectory
from dsformer.models.empty_model import make_empty_model
from dsformer.models.expected_tensors import check_shapes, check_stored, find_masks
from dsformer.models.hf_quantizer import mark
from dsformer.models.model_card import model_card
from dsformer.models.source import Source
from dsformer.models.values import check_values
from dsformer.utils.atomic_io import user_path
from dsformer.utils.output_directory import reserve, write_atomically


def save(
    model: PreTrainedModel,
    out_dir: str | os.PathLike[str],
    source: Source | str | os.PathLike[str] | None = None,
    *,
    overwrite: bool = False,
    max_shard_size: str = "5GB",
    files: Mapping[str, str] = {},
) -> Path:
    """Write a compressed model: configuration, weights, tokenizer, model card.

    The directory appears under its name once all of it is written and checked. If anything fails before (a full disk,
    Ctrl-C), nothing of it remains, and a directory that existed already is unchanged.

    Args:
        model: the compressed model; loaded as such, or prepared with :func:`~dsformer.models.hf_quantizer.attach`.
        out_dir: the directory to write.
        source: the model that was compressed, or its directory, from which tokenizer and sentence-transformers files
            are copied.
        overwrite: replace a directory that exists and is not empty.
        max_shard_size: largest size of one weight file, as transformers writes it ("500MB").
        files: further text files to write, by name.

    Returns:
        The directory written.

    Raises:
        InputError: the model is not compressed, or the directory is not empty.
        OSError: the directory cannot be written.
    """
    config = getattr(model.config, "quantization_config", None)
    if not isinstance(config, DSFormerConfig):
        raise InputError("the model is not compressed: there is nothing to save")
    mark(model, config)
    with reserve(out_dir, overwrite) as target, write_atomically(target) as directory:
        model.save_pretrained(directory, max_shard_size=max_shard_size)
        config.record = None  # it describes what was just written, not the model as it may become
        base = _copy_source(source, directory)
        sentences = (directory / MODULES).is_file()
        said = config.summary | {"architecture": type(model).__name__}
        card = model_card(said, "sentence-transformers" if sentences else "transformers", base)
        for name, text in {**files, "README.md": card}.items():
            (directory / name).write_text(text, encoding="utf-8")
        check(directory, values=True)
    return target


def check(directory: str | os.PathLike[str], *, values: bool = False) -> DSFormerConfig:
    """Check that a directory holds a complete compressed model, from its configuration and file headers.

    Damage that only the values can show is found when they are loaded.

    Args:
        directory: the compressed directory.
        values: also read the values, and compare them with their checksums where there are any.

    Returns:
        The directory's ``quantization_config``.

    Raises:
        ArtefactError: it is not a compressed model, or is damaged. One line says what is wrong, and where.
    """
    path = user_path(directory)
    config, compression = read_config(path)
    headers = read_directory(path)
    record = check_record(compression, path, headers)
    model = make_empty_model(path, config, compression)
    if model is None:
        _check_blocks(headers, compression.blocks)
    else:
        check_stored(model, headers, whole=True)
        check_shapes(model, headers)
    if values:
        check_values(weight_files(path), record, set() if model is None else find_masks(model))
    return compression


def _check_blocks(headers: dict[str, Header], blocks: list[BlockConfig]) -> None:
    """Check what can be checked without the model's class: every module has the right number of code values.

    Raises:
        ArtefactError: the weights of a module are missing or of another shape.
    """
    for block in blocks:
        for name, spec in zip(block.names, block.member_specs(), strict=True):
            header = headers.get(f"{name}.weight")
            count = spec.code_count
            shape = (spec.units, count // spec.units) if block.kind == "embedding" else (count,)
            if header is None or header.shape != shape:
                found = "is not in the weights" if header is None else f"has shape {list(header.shape)}"
                raise ArtefactError(f"{name}.weight {found}, not {list(shape)}")


def _copy_source(source: Source | str | os.PathLike[str] | None, directory: Path) -> dict[str, Any]:
    """Copy the files beside the weights, and return the header of the source's model card."""
    if source is None:
        return {}
    files = source.files if isinstance(source, Source) else ModelDirectory.read(user_path(source))
    tokenizer = source.tokenizer if isinstance(source, Source) and not source.own_tokenizer else None
    if files is not None:
        copy_auxiliary_files(files, directory, tokenizer)
        return read_card_metadata(files.top)
    if isinstance(source, Source):
        source.tokenizer.save_pretrained(directory)
    return {}
