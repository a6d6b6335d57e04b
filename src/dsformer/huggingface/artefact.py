"""Write a compressed model as a directory, whole or not at all, and check one before it is loaded."""

import os
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from dsformer.errors import ArtefactError, InputError
from dsformer.files import user_path
from dsformer.huggingface.checkpoint import Header, check_tensor, read_directory
from dsformer.huggingface.companions import copy_companions, described
from dsformer.huggingface.config import DSFormerConfig
from dsformer.huggingface.model_card import model_card
from dsformer.huggingface.quantizer import mark
from dsformer.huggingface.skeleton import expected_tensors, read_config
from dsformer.huggingface.source import Source
from dsformer.layers.blocks import BlockConfig
from dsformer.output_directory import appearing, reserved


def save(
    model: PreTrainedModel,
    out_dir: str | os.PathLike[str],
    source: Source | str | os.PathLike[str] | None = None,
    *,
    overwrite: bool = False,
    max_shard_size: str = "5GB",
) -> Path:
    """Write a compressed model: configuration, weights, tokenizer, model card.

    The directory appears under its name once all of it is written and checked; whatever goes wrong before (a full
    disk, Ctrl-C), nothing of it remains and a directory that was there is as it was.

    Args:
        model: compressed; loaded as such, or prepared with ``attach``.
        out_dir: where to.
        source: the model that was compressed, or its directory: tokenizer and sentence-transformers files are copied.
        overwrite: replace a directory that is there and not empty.
        max_shard_size: of one weight file, as transformers writes it ("500MB").

    Returns:
        The directory.

    Raises:
        InputError: the model is not compressed, or the directory is not empty.
        OSError: it cannot be written.
    """
    config = getattr(model.config, "quantization_config", None)
    if not isinstance(config, DSFormerConfig):
        raise InputError("the model is not compressed: there is nothing to save")
    mark(model, config)
    with reserved(out_dir, overwrite) as target, appearing(target) as directory:
        model.save_pretrained(directory, max_shard_size=max_shard_size)
        base = _copy_source(source, directory)
        sentences = (directory / "modules.json").is_file()
        card = model_card(base | config.summary, "sentence-transformers" if sentences else "transformers")
        (directory / "README.md").write_text(card, encoding="utf-8")
        check(directory)
    return target


def check(directory: str | os.PathLike[str]) -> DSFormerConfig:
    """Make sure that a directory holds a whole compressed model, from its configuration and file headers.

    What only the numbers can tell (supports out of order) is found when they are loaded.

    Returns:
        What the directory says about its compression.

    Raises:
        ArtefactError: it is not one, or it is damaged; one line saying what and where.
    """
    path = user_path(directory)
    config, compression = read_config(path)
    headers = read_directory(path)
    expected = expected_tensors(path, config, compression)
    if expected is None:
        _check_blocks(headers, compression.blocks)
        return compression
    for group in expected:
        stored = [name for name in group if name in headers]
        if not stored:
            raise ArtefactError(f"{path}: {min(group)} is not in the weights")
        for name in stored:
            check_tensor(name, headers[name], group[name])
    return compression


def _check_blocks(headers: dict[str, Header], blocks: list[BlockConfig]) -> None:
    """What can be said without the model's class: every module has values of the right count."""
    for block in blocks:
        for name, spec in zip(block.names, block.member_specs(), strict=True):
            header = headers.get(f"{name}.weight")
            count = spec.code_count
            shape = (spec.units, count // spec.units) if block.kind == "embedding" else (count,)
            if header is None or header.shape != shape:
                found = "is not in the weights" if header is None else f"has shape {list(header.shape)}"
                raise ArtefactError(f"{name}.weight {found}, not {list(shape)}")


def _copy_source(source: Source | str | os.PathLike[str] | None, directory: Path) -> dict[str, Any]:
    """Copies the files beside the weights; returns what the source's model card says."""
    place = source.directory if isinstance(source, Source) else source
    if place is not None:
        copy_companions(user_path(place), directory)
        return described(user_path(place))
    if isinstance(source, Source):
        source.tokenizer.save_pretrained(directory)
    return {}
