"""What a model's forward takes: padding, the longest text, a decoder's text."""

import inspect
from typing import Any

from transformers import PreTrainedModel

NO_LIMIT = 2**20
"""Tokens of an input where a model has no limit of its own."""


_POSITIONS = ("max_position_embeddings", "max_encoder_position_embeddings", "max_target_positions")


def set_padding_token(model: PreTrainedModel, tokenizer: Any) -> None:
    """Give a tokenizer without a padding token one of its others, and a classifier that knows of none the tokenizer's:
    those made of decoders read the last token that is no padding."""
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    classifies = type(model).__name__.endswith("ForSequenceClassification")
    if classifies and getattr(model.config, "pad_token_id", None) is None:
        model.config.pad_token_id = tokenizer.pad_token_id


def has_decoder_input(model: PreTrainedModel) -> bool:
    """Whether it has a decoder, which reads a text too; an encoder taken out of such a model has none."""
    decodes = getattr(model.config, "is_encoder_decoder", False)
    return bool(decodes) and "decoder_input_ids" in inspect.signature(model.forward).parameters


def longest_input(model: PreTrainedModel) -> int:
    """The most tokens the model takes; NO_LIMIT where its positions have none, which its configuration leaves out or
    writes as -1. Tables of positions with a padding index (RoBERTa's) begin after it."""
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
