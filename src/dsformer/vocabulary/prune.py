"""Vocabulary pruning: writing a model with only the tokens of a corpus."""

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from dsformer.calibration.batching import make_model_batches
from dsformer.data import read_texts
from dsformer.errors import InputError
from dsformer.models.auxiliary_files import copy_auxiliary_files
from dsformer.models.directory import ModelDirectory
from dsformer.models.remote_code import trusting
from dsformer.models.source import Source, open_source, quiet
from dsformer.utils.output_directory import reserve, write_atomically
from dsformer.vocabulary.ids import needed_ids
from dsformer.vocabulary.rows import gives_same_outputs, select_rows, table_rows
from dsformer.vocabulary.tokenizer import rewrite_tokenizer
from dsformer.vocabulary.tokens import choose_tokens, each_encoded

# How many texts the two models are compared on.
PROBES = 8


def prune_vocabulary(
    model: str | Path,
    output: str | Path,
    texts: Sequence[str],
    *,
    overwrite: bool = False,
    trust_remote_code: bool = False,
) -> tuple[int, int]:
    """Write a dense model reduced to the tokens of some texts, with the outputs that the original has for these texts.

    Args:
        model: a Hugging Face or sentence-transformers directory, or a hub name.
        output: directory of the smaller model; it appears complete or not at all.
        texts: texts of the kind that the model will be used on.
        overwrite: replace ``output`` if it exists.
        trust_remote_code: run Python code that comes with the model.

    Returns:
        Number of tokens before, and after.

    Raises:
        InputError: the model or its tokenizer cannot be pruned.
    """
    with reserve(output, overwrite, [model]) as target:
        with trusting(trust_remote_code):
            source = open_source(model)
        if not getattr(source.tokenizer, "is_fast", False):
            raise InputError("vocabulary: only fast tokenizers (with a tokenizer.json) can be rewritten")
        rows = table_rows(source.model)
        found = choose_tokens(source.tokenizer, texts, needed_ids(source.model, rows))
        # Tokens beyond the table, added and never used, stay beyond it: the model has no rows for them in either case.
        numbers = {old: new for new, old in enumerate(found)}
        kept = torch.tensor([old for old in found if old < rows])
        tokenizer = _checked(source.tokenizer, numbers, texts, rows)
        network = _selected(source, kept, numbers, texts)
        _write(network, tokenizer, source.files, target)
    return rows, len(kept)


def _write(network: PreTrainedModel, tokenizer: Any, companions: ModelDirectory | None, target: Path) -> None:
    """Write the smaller model, its tokenizer and the files beside them."""
    with write_atomically(target) as directory, quiet():
        network.save_pretrained(directory)
        if companions is None:
            tokenizer.save_pretrained(directory)
        else:
            copy_auxiliary_files(companions, directory, tokenizer)


def _checked(tokenizer: Any, numbers: dict[int, int], texts: Sequence[str], rows: int) -> Any:
    """Rewrite the tokenizer, and check that it splits all texts as the original does.

    Raises:
        InputError: it splits a text in another way, or the model has no row for a token of a text.
    """
    with quiet():
        new = rewrite_tokenizer(tokenizer, numbers)
    for text, old, own in zip(texts, each_encoded(tokenizer, texts), each_encoded(new, texts), strict=True):
        if old and max(old) >= rows:
            token = tokenizer.convert_ids_to_tokens(max(old))
            raise InputError(f"vocabulary: the model has no row for the token {token!r} of the text {text[:60]!r}")
        if [numbers.get(i) for i in old] != own:
            raise InputError(f"vocabulary: the rewritten tokenizer splits {text[:60]!r} in another way")
    return new


def _selected(source: Source, kept: torch.Tensor, numbers: dict[int, int], texts: Sequence[str]) -> PreTrainedModel:
    """Copy the model with the rows of the remaining tokens, and check that its outputs are those of the original.

    Raises:
        InputError: the outputs differ.
    """
    network = deepcopy(source.model)
    select_rows(network, kept, numbers)
    places = torch.full((table_rows(source.model),), -1)
    places[kept] = torch.arange(len(kept))
    # One text a batch: the padding token may be one that has no row.
    for batch in make_model_batches(source.model, source.tokenizer, texts[:PROBES], 64, 1):
        renumbered = {name: places[ids] if name.endswith("input_ids") else ids for name, ids in batch.items()}
        if not gives_same_outputs(source.model, network, batch, renumbered, kept):
            raise InputError("vocabulary: this model does not say the same with fewer tokens, so it cannot be changed")
    return network


def write_with_vocabulary(model: str | Path | nn.Module, corpus: Path, place: Path) -> Path:
    """Write the model pruned to the tokens of a corpus, and return its directory.

    Args:
        model: a directory or hub name.
        corpus: file of texts of the kind that the model will be used on.
        place: the directory to write.

    Raises:
        InputError: the model is one in memory; or as for :func:`prune_vocabulary`.
    """
    if not isinstance(model, str | Path):
        raise InputError("vocabulary: needs a directory or a hub name, not a model in memory")
    prune_vocabulary(model, place, read_texts(corpus))
    return place
