"""Inputs of a model's forward: padding token, longest input, input of a decoder."""

import inspect
from typing import Any

from transformers import PreTrainedModel

NO_LIMIT = 2**20
"""Longest input in tokens where a model has no limit."""


_POSITIONS = ("max_position_embeddings", "max_encoder_position_embeddings", "max_target_positions")


def set_padding_token(model: PreTrainedModel, tokenizer: Any) -> None:
    """Give the tokenizer and a classifier a padding token where they have none.

    The tokenizer uses its end-of-sequence or unknown token. A sequence classifier takes the id from the tokenizer:
    classifiers made of decoders read the last token that is not padding.
    """
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    classifies = type(model).__name__.endswith("ForSequenceClassification")
    if classifies and getattr(model.config, "pad_token_id", None) is None:
        model.config.pad_token_id = tokenizer.pad_token_id


def has_decoder_input(model: PreTrainedModel) -> bool:
    """Return whether the model has a decoder, which reads token ids too.

    An encoder taken out of an encoder-decoder has none.
    """
    decodes = getattr(model.config, "is_encoder_decoder", False)
    return bool(decodes) and "decoder_input_ids" in inspect.signature(model.forward).parameters


def longest_input(model: PreTrainedModel) -> int:
    """Return the largest number of tokens the model takes; NO_LIMIT if its positions have no limit.

    A configuration without a limit omits the number of positions or sets it to -1. The positions of tables with a
    padding index (RoBERTa's) begin after that index.
    """
    config = model.config.get_text_config()
    sizes = [size for name in _POSITIONS if isinstance(size := getattr(config, name, None), int) and size > 0]
    if not sizes:
        return NO_LIMIT
    reserved = 0
    for name, module in model.named_modules():
        padding, table = getattr(module, "padding_idx", None), getattr(module, "weight", None)
        if "position" in name.rpartition(".")[2] and padding is not None and table is not None:
            reserved = padding + 1 if len(table) == sizes[0] else reserved
    return max(2, sizes[0] - reserved)
