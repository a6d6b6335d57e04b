"""Ids in configurations of all shapes."""

import pytest
import torch
from transformers import (
    BartConfig,
    BertConfig,
    BertModel,
    GenerationConfig,
    GPT2Config,
    GPT2LMHeadModel,
    MarianConfig,
    MarianMTModel,
    MBartConfig,
    MBartForConditionalGeneration,
    WhisperConfig,
    WhisperForConditionalGeneration,
)

from dsformer.vocabulary.ids import needed_ids, renumber

ROWS = 40
# All even tokens stay.
NUMBERS = {old: new for new, old in enumerate(range(0, ROWS, 2))}
SMALL = {"vocab_size": ROWS, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 16}
SMALL |= {"decoder_ffn_dim": 16, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
SPECIAL = {"pad_token_id": 2, "bos_token_id": 4, "eos_token_id": 6, "decoder_start_token_id": 6}


def gpt2(**generation: object) -> GPT2LMHeadModel:
    model = GPT2LMHeadModel(GPT2Config(vocab_size=ROWS, n_embd=16, n_layer=1, n_head=2, bos_token_id=4, eos_token_id=6))
    model.generation_config = GenerationConfig(**generation)
    return model


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("eos_token_id", [6, 8], [3, 4]),
        ("forced_bos_token_id", 8, 4),
        ("forced_eos_token_id", [8, 10], [4, 5]),
        ("decoder_start_token_id", [8, 8], [4, 4]),
        ("suppress_tokens", [4, 5, 6], [2, 3]),
        ("suppress_tokens", [5, 7], None),
        ("begin_suppress_tokens", [5, 8], [4]),
        ("bad_words_ids", [[4, 6], [4, 5], [7]], [[2, 3]]),
        ("bad_words_ids", [[5]], None),
        ("force_words_ids", [[4, 6], [[8], [10, 4]]], [[2, 3], [[4], [5, 2]]]),
        ("forced_decoder_ids", [[1, 8], [2, None], [3, 10]], [[1, 4], [2, None], [3, 5]]),
        ("sequence_bias", {(4, 6): 1.5, (5,): -1.0}, {(2, 3): 1.5}),
        ("sequence_bias", [[[4, 6], 1.5], [[5], -1.0]], [[[2, 3], 1.5]]),
        ("lang_to_id", {"<|en|>": 4, "<|de|>": 8}, {"<|en|>": 2, "<|de|>": 4}),
        ("no_timestamps_token_id", 8, 4),
        ("pad_token_id", -1, None),
    ],
)
def test_ids_of_how_a_model_generates(name: str, before: object, after: object):
    model = gpt2()
    setattr(model.generation_config, name, before)
    renumber(model, ROWS, len(NUMBERS), NUMBERS)
    assert getattr(model.generation_config, name) == after
    assert (model.config.vocab_size, model.config.bos_token_id, model.config.eos_token_id) == (20, 2, 3)


def test_texts_are_generated_under_the_same_rules():
    """Suppressed, bad, forced and preferred tokens are the same ones."""
    rules = {"suppress_tokens": [4, 8], "bad_words_ids": [[10, 12], [14]], "forced_eos_token_id": 6, "eos_token_id": 6}
    rules |= {"begin_suppress_tokens": [20], "sequence_bias": [[[16], 3.0]], "pad_token_id": 2}
    model = gpt2(**rules)
    everything = {old: new for new, old in enumerate([*range(ROWS // 2, ROWS), *range(ROWS // 2)])}
    order = torch.tensor(sorted(everything, key=everything.__getitem__))
    ids = torch.tensor([[18, 22, 24]])
    found = model.generate(ids, max_new_tokens=6, do_sample=False)[0]
    with torch.no_grad():
        model.transformer.wte.weight.copy_(model.transformer.wte.weight[order].clone())
    renumber(model, ROWS, ROWS, everything)
    numbers = torch.tensor([everything[old] for old in range(ROWS)])
    again = model.generate(numbers[ids], max_new_tokens=6, do_sample=False)[0]
    assert again.tolist() == numbers[found].tolist()


def test_tokens_that_are_wanted_stay_and_others_may_go():
    model = gpt2(bad_words_ids=[[11]], suppress_tokens=[13], sequence_bias=[[[15], 1.0]], force_words_ids=[[17, 19]])
    model.generation_config.forced_decoder_ids = [[1, 21]]
    model.generation_config.task_to_id = {"transcribe": 23}
    assert needed_ids(model, ROWS) == {4, 6, 17, 19, 21, 23}


def test_configurations_of_translators_and_listeners():
    marian = MarianMTModel(MarianConfig(**SMALL, **SPECIAL, forced_eos_token_id=6))
    marian.config.bad_words_ids = marian.generation_config.bad_words_ids = [[2]]
    mbart = MBartForConditionalGeneration(MBartConfig(**SMALL, **SPECIAL))
    mbart.generation_config.forced_bos_token_id = 8
    mbart.config.task_specific_params = {"translation_en_to_ro": {"decoder_start_token_id": 8, "max_length": 5}}
    whisper = WhisperForConditionalGeneration(
        WhisperConfig(**SMALL, **SPECIAL, suppress_tokens=[8, 9], begin_suppress_tokens=[10, 6])
    )
    whisper.config.forced_decoder_ids = [[1, 8], [2, 10]]
    for model in (marian, mbart, whisper):
        renumber(model, ROWS, len(NUMBERS), NUMBERS)
        for config in (model.config, model.generation_config):
            assert (config.pad_token_id, config.bos_token_id, config.decoder_start_token_id) == (1, 2, 3)
    assert marian.config.bad_words_ids == marian.generation_config.bad_words_ids == [[1]]
    assert mbart.config.task_specific_params == {"translation_en_to_ro": {"decoder_start_token_id": 4, "max_length": 5}}
    assert mbart.generation_config.forced_bos_token_id == 4
    assert whisper.config.forced_decoder_ids == [[1, 4], [2, 5]]
    kept = [getattr(one, "suppress_tokens", None) for one in (whisper.config, whisper.generation_config)]
    assert all(one in (None, [4]) for one in kept)
    assert [4] in kept


def test_configurations_inside_of_others():
    """Those of the same vocabulary, however deep; those of another one are left alone."""
    model = BertModel(BertConfig(vocab_size=ROWS, hidden_size=16, num_hidden_layers=1, num_attention_heads=2))
    inner, other = BartConfig(vocab_size=ROWS, **SPECIAL), BartConfig(vocab_size=99, **SPECIAL)
    inner.deepest = BartConfig(vocab_size=ROWS, **SPECIAL)
    model.config.inner, model.config.other = inner, other
    renumber(model, ROWS, len(NUMBERS), NUMBERS)
    for config in (inner, inner.deepest):
        assert (config.vocab_size, config.pad_token_id, config.eos_token_id) == (20, 1, 3)
    assert (other.vocab_size, other.pad_token_id, other.eos_token_id) == (99, 2, 6)
