"""Text as the batches a model's forward takes."""

import inspect
from collections.abc import Sequence
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from dsformer.calibration.grams import Text, batches


def model_batches(
    model: PreTrainedModel, tokenizer: Any, texts: Sequence[Text], length: int, batch_size: int
) -> list[dict[str, Tensor]]:
    """Tokenized batches, longest first, with all that the model needs to run and nothing it does not take.

    Encoder-decoder models also run their decoder, on the same text.

    Raises:
        InputError: no text, or no text of two tokens.
    """
    accepted = set(inspect.signature(model.forward).parameters)
    made = batches(tokenizer, texts, min(length, _longest(model)), batch_size, accepted.__contains__)
    if getattr(model.config, "is_encoder_decoder", False):
        made = [{**batch, "decoder_input_ids": batch["input_ids"]} for batch in made]
    return made


def _longest(model: PreTrainedModel) -> int:
    """The longest input the model takes; RoBERTa's first two positions are reserved."""
    return max(2, (getattr(model.config, "max_position_embeddings", None) or 2**20) - 2)
