"""Verbs on a compressed directory: load it, or make it a plain dense one again."""

from pathlib import Path
from typing import Any

import transformers
from transformers import AutoModel, PreTrainedModel

from dsformer.files import user_path
from dsformer.huggingface.artefact import check
from dsformer.huggingface.companions import copy_companions
from dsformer.huggingface.opening import check_architectures, opening
from dsformer.huggingface.skeleton import read_config
from dsformer.huggingface.source import quiet
from dsformer.layers import densify as densify_layers
from dsformer.output_directory import appearing, reserved

CARD = """# A dense copy of a model compressed with DSFormer

Its weights are those of the compressed model, multiplied out: same outputs, without the dsformer package and without
its savings.
"""


def load(directory: str | Path, **options: Any) -> PreTrainedModel:
    """A compressed model in the class it was saved from, its directory checked first.

    Args:
        directory: what ``compress`` wrote.
        options: passed on to ``from_pretrained``; ``dtype`` is that of the files unless it is given.

    Raises:
        ArtefactError: the directory is not a compressed model, or is damaged.
    """
    path = user_path(directory)
    check(path)
    names = read_config(path)[0].get("architectures") or [""]
    check_architectures(names)
    architecture = getattr(transformers, names[0], AutoModel)
    with quiet(), opening(path):
        return architecture.from_pretrained(path, **{"dtype": "auto", **options}).eval()


def densify(directory: str | Path, output: str | Path, *, overwrite: bool = False) -> Path:
    """Write a compressed model as a plain dense directory, which loads without this package.

    The files of tokenizer and sentence-transformers come along. The directory appears whole or not at all.

    Args:
        directory: what ``compress`` wrote.
        output: where to.
        overwrite: replace ``output`` if it exists.

    Returns:
        The directory written.

    Raises:
        ArtefactError: ``directory`` is not a compressed model, or is damaged.
        InputError: ``output`` is there already, cannot be written, or is ``directory``.
    """
    source = user_path(directory)
    with reserved(output, overwrite, [source]) as target:
        check(source)
        model = load(source)
        densify_layers(model)
        forget_compression(model)
        with appearing(target) as written, quiet():
            model.save_pretrained(written)
            copy_companions(source, written)
            (written / "README.md").write_text(CARD, encoding="utf-8")
    return target


def forget_compression(model: Any) -> None:
    """Make a model whose layers are dense again save itself as one that never was compressed."""
    del model.config.quantization_config
    model.is_quantized = False
    for name in ("hf_quantizer", "quantization_method"):
        if hasattr(model, name):
            delattr(model, name)
