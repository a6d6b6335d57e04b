"""Tokenized batches of calibration text, as a model's forward pass takes them."""

import inspect
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from dsformer.data.text import Text
from dsformer.errors import InputError
from dsformer.models.inputs import has_decoder_input, longest_input, set_padding_token


def make_model_batches(
    model: PreTrainedModel, tokenizer: Any, texts: Sequence[Text], length: int, batch_size: int
) -> list[dict[str, Tensor]]:
    """Tokenize texts to batches with all the arguments that the model needs, and no others, longest first.

    Encoder-decoder models also run their decoder, on the same text.

    Args:
        model: whose forward pass takes the batches.
        tokenizer: the model's.
        texts: texts or pairs of texts.
        length: greatest length of a text in tokens; the model's own limit applies too.
        batch_size: texts of a batch.

    Raises:
        InputError: there is no text, or no text of two tokens.
    """
    set_padding_token(model, tokenizer)
    accepted = set(inspect.signature(model.forward).parameters)
    made = make_batches(tokenizer, texts, min(length, longest_input(model)), batch_size, accepted.__contains__)
    if has_decoder_input(model):
        made = [{**batch, "decoder_input_ids": batch["input_ids"]} for batch in made]
    return made


def make_batches(
    tokenizer: Any,
    texts: Sequence[Text],
    length: int,
    batch_size: int,
    accepts: Callable[[str], bool],
) -> list[dict[str, Tensor]]:
    """Tokenize texts, or pairs of texts, to batches, longest first so that memory peaks at once.

    Args:
        tokenizer: pads the texts of a batch.
        texts: texts or pairs of texts.
        length: greatest length of a text in tokens.
        batch_size: texts of a batch.
        accepts: whether the model takes an argument of this name.

    Raises:
        InputError: there is no text, no text of two tokens, or most tokens are unknown to the tokenizer, or padding.
    """
    if not texts:
        raise InputError("calibration text is empty")
    parts = [(text,) if isinstance(text, str) else text for text in texts]
    encoded = [tokenizer(*part, truncation=True, max_length=length) for part in parts]
    bare = [tokenizer(*part, add_special_tokens=False)["input_ids"] for part in parts]
    if max(map(len, bare)) < 2:
        raise InputError("calibration text has no passage of two tokens or more; give real text of the model's kind")
    _require_known(tokenizer, bare)
    encoded.sort(key=lambda one: -len(one["input_ids"]))
    padded = [
        tokenizer.pad(encoded[i : i + batch_size], return_tensors="pt") for i in range(0, len(encoded), batch_size)
    ]
    return [{key: value for key, value in one.items() if accepts(key)} for one in padded]


def _require_known(tokenizer: Any, texts: Sequence[Sequence[int]]) -> None:
    """Check that the tokenizer knows the text.

    Raises:
        InputError: more than half of the tokens are unknown or padding. Then the text is of another language, or the
            tokenizer of another model.
    """
    ids = Counter(one for text in texts for one in text)
    total = sum(ids.values())
    for name in ("unk_token", "pad_token"):
        number = getattr(tokenizer, f"{name}_id", None)
        if number is not None and 2 * ids[number] > total:
            raise InputError(
                f"{100 * ids[number] / total:.0f} % of the calibration text's tokens are {getattr(tokenizer, name)}: "
                "the text is of another language, or the tokenizer of another model"
            )
