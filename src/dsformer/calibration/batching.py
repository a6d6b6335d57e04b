"""Text as the batches a model's forward takes."""

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
    """Tokenized batches, longest first, with all that the model needs to run and nothing it does not take.

    Encoder-decoder models also run their decoder, on the same text.

    Raises:
        InputError: no text, or no text of two tokens.
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
    """Tokenized batches of texts, or of pairs of texts, longest first so that memory peaks at once.

    Raises:
        InputError: no text, no text of two tokens, or most tokens are unknown to the tokenizer, or padding.
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
    """Raises InputError where more than half of the tokens stand for nothing: then the text is of another language, or
    the tokenizer of another model."""
    ids = Counter(one for text in texts for one in text)
    total = sum(ids.values())
    for name in ("unk_token", "pad_token"):
        number = getattr(tokenizer, f"{name}_id", None)
        if number is not None and 2 * ids[number] > total:
            raise InputError(
                f"{100 * ids[number] / total:.0f} % of the calibration text's tokens are {getattr(tokenizer, name)}: "
                "the text is of another language, or the tokenizer of another model"
            )
