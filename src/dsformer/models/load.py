"""Loading a compressed directory, and writing it as a plain dense one."""

from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from dsformer.errors import ArtefactError, InputError
from dsformer.models.architectures import get_model_class
from dsformer.models.artefact import check
from dsformer.models.auxiliary_files import copy_auxiliary_files
from dsformer.models.directory import ModelDirectory
from dsformer.models.hf_quantizer import unmark
from dsformer.models.pretrained import load_config, load_pretrained
from dsformer.models.remote_code import trusting
from dsformer.models.source import quiet
from dsformer.nn.replace import densify as densify_layers
from dsformer.utils.atomic_io import user_path
from dsformer.utils.output_directory import reserve, write_atomically

CARD = """# A dense copy of a model compressed with DSFormer

Its weights are those of the compressed model, multiplied out: same outputs, without the dsformer package and without
its savings.
"""


def load(directory: str | Path, *, trust_remote_code: bool = False, **options: Any) -> PreTrainedModel:
    """Load a compressed model in the class it was saved from, after a check of its directory.

    Args:
        directory: a directory that ``compress`` wrote.
        trust_remote_code: run Python code that comes with the model.
        options: passed on to ``from_pretrained``; by default ``dtype`` is that of the files.

    Raises:
        ArtefactError: the directory is not a compressed model, or is damaged.
    """
    path = user_path(directory)
    check(path)
    with quiet(), trusting(trust_remote_code):
        try:
            loader = get_model_class(ModelDirectory(path, path), load_config(path))
            model = load_pretrained(loader, path, **{"dtype": "auto", **options}).eval()
            # The layers of PyTorch are asked for; of sentence encoders the whole forward pass would be native.
            vars(model).pop("forward", None)
            return model
        except InputError as error:
            raise ArtefactError(str(error)) from error


def densify(
    directory: str | Path, output: str | Path, *, overwrite: bool = False, trust_remote_code: bool = False
) -> Path:
    """Write a compressed model as a plain dense directory, which loads without this package.

    The files of tokenizer and sentence-transformers are copied. The directory appears complete or not at all.

    Args:
        directory: a directory that ``compress`` wrote.
        output: the directory to write.
        overwrite: replace ``output`` if it exists.
        trust_remote_code: run Python code that comes with the model.

    Returns:
        The directory written.

    Raises:
        ArtefactError: ``directory`` is not a compressed model, or is damaged.
        InputError: ``output`` exists already, cannot be written, or is ``directory``.
    """
    source = user_path(directory)
    with reserve(output, overwrite, [source]) as target:
        check(source)
        model = load(source, trust_remote_code=trust_remote_code)
        densify_layers(model)
        forget_compression(model)
        with write_atomically(target) as written, quiet():
            model.save_pretrained(written)
            copy_auxiliary_files(ModelDirectory.read(source), written)
            (written / "README.md").write_text(CARD, encoding="utf-8")
    return target


def forget_compression(model: Any) -> None:
    """Make a model whose layers are dense again save itself as one that was never compressed."""
    del model.config.quantization_config
    model.is_quantized = False
    unmark(model)
    for name in ("hf_quantizer", "quantization_method"):
        if hasattr(model, name):
            delattr(model, name)
