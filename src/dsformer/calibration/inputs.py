"""Text as the batches a model's forward takes."""

import inspect
from collections.abc import Sequence
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from dsformer.calibration.grams import Text, batches

# Tokens of an input that nothing limits.
NO_LIMIT = 2**20


def model_batches(
    model: PreTrainedModel, tokenizer: Any, texts: Sequence[Text], length: int, batch_size: int
) -> list[dict[str, Tensor]]:
    """Tokenized batches, longest first, with all that the model needs to run and nothing it does not take.

    Encoder-decoder models also run their decoder, on the same text.

    Raises:
        InputError: no text, or no text of two tokens.
    """
    pad(model, tokenizer)
    accepted = set(inspect.signature(model.forward).parameters)
    made = batches(tokenizer, texts, min(length, longest_input(model)), batch_size, accepted.__contains__)
    if takes_decoder_text(model):
        made = [{**batch, "decoder_input_ids": batch["input_ids"]} for batch in made]
    return made


def pad(model: PreTrainedModel, tokenizer: Any) -> None:
    """Give a tokenizer without a padding token one of its others, and a classifier that knows of none the tokenizer's:
    those made of decoders read the last token that is no padding."""
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    classifies = type(model).__name__.endswith("ForSequenceClassification")
    if classifies and getattr(model.config, "pad_token_id", None) is None:
        model.config.pad_token_id = tokenizer.pad_token_id


def takes_decoder_text(model: PreTrainedModel) -> bool:
    """Whether it has a decoder, which reads a text too; an encoder taken out of such a model has none."""
    decodes = getattr(model.config, "is_encoder_decoder", False)
    return bool(decodes) and "decoder_input_ids" in inspect.signature(model.forward).parameters


def longest_input(model: PreTrainedModel) -> int:
    """The longest input the model takes, in tokens; RoBERTa's first two positions are reserved.

    Relative positions have no limit, which configurations say by leaving it out, or by -1 (XLNet).
    """
    most = getattr(model.config, "max_position_embeddings", None)
    return max(2, most - 2) if isinstance(most, int) and most > 0 else NO_LIMIT
