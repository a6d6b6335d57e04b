"""Collators that make batches of features, by those of transformers."""

import copy
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import (
    DataCollatorForLanguageModeling,
    DataCollatorForTokenClassification,
    DataCollatorWithPadding,
    PreTrainedTokenizerBase,
    default_data_collator,
)

from dsformer.data.supervised.task import SupervisedTask
from dsformer.errors import InputError

_MASKED = 0.15

Collator = Callable[[list[dict[str, Any]]], Mapping[str, Tensor]]


def collator(task: SupervisedTask, tokenizer: PreTrainedTokenizerBase, *, evaluation: bool = False) -> Collator:
    """Return the collator that makes a batch of features.

    Features are padded on the right whatever the tokenizer's side is, since `score` expects padding there. For masked
    language modelling 15 % of the tokens are masked, different ones for every composition of a batch.

    Args:
        task: the task of the features.
        tokenizer: the model's tokenizer.
        evaluation: mask the same tokens of a feature every time, so that scores can be compared.

    Raises:
        InputError: the tokenizer lacks the token for padding or for masking.
    """
    if task.kind == "causal_lm":
        return default_data_collator
    if task.kind == "masked_lm":
        if tokenizer.mask_token is None:
            raise InputError("Masked language modelling needs a tokenizer with a mask token; this one has none")
        return _FixedMasks(tokenizer) if evaluation else _Masks(tokenizer)
    if tokenizer.pad_token is None:
        raise InputError(f"{task.name} needs a tokenizer with a padding token; this one has none (set its pad_token)")
    if tokenizer.padding_side != "right":
        tokenizer = copy.deepcopy(tokenizer)
        tokenizer.padding_side = "right"
    padded = DataCollatorForTokenClassification if task.kind == "token_classification" else DataCollatorWithPadding
    return padded(tokenizer)


class _Masks:
    """Masks that depend on the tokens of a batch alone, so that a resumed run sees the masks it would have seen.

    Every epoch groups the features differently, which gives them other masks.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase):
        self._mask = DataCollatorForLanguageModeling(tokenizer, mlm_probability=_MASKED)

    def __call__(self, features: Sequence[dict[str, Any]]) -> Mapping[str, Tensor]:
        return self.masked(features)

    def masked(self, features: Sequence[dict[str, Any]]) -> Mapping[str, Tensor]:
        """Make a batch of these features, with masks."""
        seed = 0
        for feature in features:
            seed = zlib.crc32(np.asarray(feature["input_ids"], np.int32).tobytes(), seed)
        self._mask.generator = torch.Generator().manual_seed(seed)
        return self._mask(list(features))


class _FixedMasks(_Masks):
    """Masks that depend on the tokens of a feature alone, whatever its batch."""

    def __call__(self, features: Sequence[dict[str, Any]]) -> Mapping[str, Tensor]:
        batches = [self.masked([feature]) for feature in features]
        return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
