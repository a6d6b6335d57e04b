"""Verbs on a compressed directory: load it, or make it a plain dense one again."""

from pathlib import Path
from typing import Any

import transformers
from transformers import AutoModel, PreTrainedModel

from dsformer.huggingface.artefact import appearing, check, reserve
from dsformer.huggingface.companions import copy_companions
from dsformer.huggingface.quantizer import unmark
from dsformer.huggingface.skeleton import read_config
from dsformer.huggingface.source import quiet
from dsformer.layers import densify as densify_layers

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
    path = Path(directory).expanduser()
    check(path)
    names = read_config(path)[0].get("architectures") or [""]
    architecture = getattr(transformers, names[0], AutoModel)
    with quiet():
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
        InputError: ``output`` is there already or cannot be written.
    """
    source = Path(directory).expanduser()
    check(source)
    target = reserve(output, overwrite)
    model = load(source)
    densify_layers(model)
    forget_compression(model)
    with appearing(target) as written:
        model.save_pretrained(written)
        copy_companions(source, written)
        (written / "README.md").write_text(CARD, encoding="utf-8")
    return target


def forget_compression(model: Any) -> None:
    """Make a model whose layers are dense again save itself as one that never was compressed."""
    del model.config.quantization_config
    model.is_quantized = False
    unmark(model)
    for name in ("hf_quantizer", "quantization_method"):
        if hasattr(model, name):
            delattr(model, name)
