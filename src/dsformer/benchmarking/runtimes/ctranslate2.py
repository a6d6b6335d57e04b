"""CTranslate2: dynamic int8 of the families that its converter knows."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dsformer.benchmarking.runtimes.engine import Sessions, Texts, padded, split
from dsformer.benchmarking.runtimes.exported import require, silent
from dsformer.errors import InputError
from dsformer.models.checkpoint import first_line, read_json


class CTranslate2:
    """A dense model, converted to int8 in a folder that is removed with this object.

    Args:
        place: directory of configuration, weights and tokenizer.
        tokenizer: the model's.

    Raises:
        MissingExtraError: CTranslate2 is not installed.
        InputError: its converter does not know the family.
    """

    def __init__(self, place: Path, tokenizer: Any):
        require("ctranslate2", "ctranslate2")
        import ctranslate2

        self._folder = tempfile.TemporaryDirectory()
        self._padding = tokenizer.pad_token_id or 0
        self.path = convert(place, Path(self._folder.name))

        def make(threads: int) -> Callable[..., Any]:
            encoder = ctranslate2.Encoder(str(self.path), device="cpu", intra_threads=threads, compute_type="int8")
            return encoder.forward_batch

        self._sessions = Sessions(make)

    def prepare(self, texts: Texts) -> tuple[Any, Any]:
        """Pad the texts on the right; their lengths go with them."""
        import ctranslate2

        rows, mask = padded(texts, self._padding)
        both = (rows, mask.sum(1))
        ids, lengths = (ctranslate2.StorageView.from_array(one.to(torch.int32).numpy()) for one in both)
        return ids, lengths

    def run(self, prepared: tuple[Any, Any]) -> Any:
        """Run one forward pass."""
        return self._sessions(*prepared)

    def outputs(self, texts: Texts) -> list[Tensor]:
        """Run texts as one batch and return the hidden states of each."""
        found = self.run(self.prepare(texts)).last_hidden_state
        return split(torch.as_tensor(np.array(found)), texts)


def convert(place: Path, folder: Path) -> Path:
    """Convert a model to int8 and return the new directory.

    Args:
        place: directory of configuration, weights and tokenizer.
        folder: an empty one to write to.

    Raises:
        InputError: the converter does not know the family.
    """
    from ctranslate2.converters import TransformersConverter

    source, target = folder / "source", folder / "int8"
    source.mkdir()
    for file in place.iterdir():
        if file.is_file() and file.name != "config.json":
            (source / file.name).symlink_to(file.resolve())
    # transformers 5 no longer writes what the converter of BERT, RoBERTa and XLM-R reads.
    config = {"position_embedding_type": "absolute", **read_json(place / "config.json")}
    (source / "config.json").write_text(json.dumps(config), encoding="utf-8")
    try:
        with silent():
            TransformersConverter(str(source)).convert(str(target), quantization="int8")
    except Exception as error:
        # A long list of the families that it knows comes behind this.
        reason = first_line(error).partition(" (supported")[0]
        raise InputError(f"{place}: CTranslate2 cannot convert it ({reason})") from error
    return target
