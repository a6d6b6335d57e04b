import pytest
import torch
import transformers
from transformers import (
    BertConfig,
    BertForMultipleChoice,
    BertModel,
    PreTrainedModel,
    T5Config,
    T5EncoderModel,
    T5Model,
    XLNetConfig,
    XLNetModel,
)

import dsformer
from dsformer.calibration.batching import make_model_batches
from dsformer.errors import InputError
from dsformer.models.inputs import NO_LIMIT, has_decoder_input, longest_input
from fixtures.text import QUICK, sentences, sizes, word_tokenizer

VOCABULARY = sizes()["vocab_size"]
T5 = T5Config(vocab_size=VOCABULARY, d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=2, decoder_start_token_id=0)


SMALL = {"vocab_size": 50, "num_hidden_layers": 1, "hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
SHORT = {**SMALL, "max_position_embeddings": 20}
DECODED = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "vocab_size": 50, "max_position_embeddings": 20}


@pytest.mark.parametrize(
    ("name", "fields", "length"),
    [
        ("Bert", SHORT, 20),
        ("Roberta", SHORT, 18),
        ("MPNet", SHORT, 18),
        ("Bart", DECODED, 20),
        ("GPT2", {"vocab_size": 50, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 20}, 20),
    ],
)
def test_the_longest_input_of_a_model(name: str, fields: dict, length: int):
    config = getattr(transformers, f"{name}Config")(**fields)
    model = getattr(transformers, f"{name}Model")(config).eval()
    assert longest_input(model) == length
    ids = torch.full((1, length + 1), 5)
    with torch.no_grad():
        model(input_ids=ids[:, :-1])
    with pytest.raises((IndexError, RuntimeError)):
        model(input_ids=ids)


@pytest.mark.parametrize(
    "model",
    [XLNetModel(XLNetConfig(vocab_size=VOCABULARY, d_model=32, n_layer=1, n_head=2, d_inner=64)), T5Model(T5)],
    ids=["XLNet", "T5"],
)
def test_models_without_a_limit(model: PreTrainedModel):
    """XLNet's configuration has -1 positions: it is not calibrated on texts of two tokens."""
    assert longest_input(model) == NO_LIMIT
    made = make_model_batches(model, word_tokenizer(), sentences(8), 32, 4)
    assert max(one["input_ids"].shape[1] for one in made) == max(map(len, word_tokenizer()(sentences(8))["input_ids"]))


def test_a_decoder_reads_the_text_too():
    assert has_decoder_input(T5Model(T5))
    assert not has_decoder_input(T5EncoderModel(T5))
    assert not has_decoder_input(BertModel(BertConfig(**sizes())))
    [batch] = make_model_batches(T5EncoderModel(T5), word_tokenizer(), sentences(2), 32, 4)
    assert "decoder_input_ids" not in batch


@pytest.mark.parametrize(
    ("text", "token"), [("Привет, это текст на русском языке.", r"\[UNK\]"), ("[PAD] [PAD] [PAD] cat", r"\[PAD\]")]
)
def test_text_that_says_nothing_is_refused(text: str, token: str):
    model = BertModel(BertConfig(**sizes()))
    with pytest.raises(
        InputError, match=rf"\d+ % of the calibration text's tokens are {token}: the text is of another"
    ):
        make_model_batches(model, word_tokenizer(), [text] * 4, 32, 4)
    assert make_model_batches(model, word_tokenizer(), [text, *sentences(8)], 32, 4)


def test_a_model_that_plain_text_is_not_enough_for():
    model = BertForMultipleChoice(BertConfig(**sizes()))
    with pytest.raises(
        InputError, match="BertForMultipleChoice cannot be run on plain text, so it cannot be calibrated"
    ):
        dsformer.compress(model, tokenizer=word_tokenizer(), texts=sentences(8), **QUICK)
