import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertModel, T5Config, T5Model

from dsformer.calibration.batching import make_batches
from dsformer.calibration.second_moments import collect_second_moments
from dsformer.calibration.trace import trace
from dsformer.cli.demo import find_minilm
from dsformer.errors import InputError


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=64, num_hidden_layers=1, num_attention_heads=4, intermediate_size=128, vocab_size=400
    )
    return BertModel(config).eval()


def padded():
    ids = torch.tensor([[5, 6, 7, 8], [9, 10, 0, 0]])
    return {"input_ids": ids, "attention_mask": (ids > 0).long()}


def test_gram_is_the_second_moment_of_real_tokens(model):
    found = trace(model, padded())
    seen = collect_second_moments(model, [padded(), padded()], found.blocks, found.tables)
    block = found.blocks[0]
    inputs = []
    with torch.no_grad():
        handle = block.modules[0].register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
        model(**padded())
        handle.remove()
    x = inputs[0][padded()["attention_mask"].bool()].double()
    assert len(x) == 6
    torch.testing.assert_close(seen.grams[block.name], 2 * x.T @ x, rtol=1e-4, atol=1e-3)
    assert seen.tokens == 12
    counts = seen.counts["embeddings.word_embeddings"]
    assert counts.sum() == 12
    assert counts[5] == 2
    assert counts[0] == 0


def test_broken_weights_are_named(model):
    found = trace(model, padded())
    broken = found.blocks[1]
    weight = model.embeddings.word_embeddings.weight
    kept = weight[5].detach().clone()
    with torch.no_grad():
        weight[5] = float("nan")
    try:
        with pytest.raises(InputError, match="NaN"):
            collect_second_moments(model, [padded()], [broken], [])
    finally:
        with torch.no_grad():
            weight[5] = kept


class Words:
    """The smallest thing that behaves like a tokenizer."""

    pad_token = "[PAD]"

    def __call__(self, text, truncation=False, max_length=None, add_special_tokens=True):
        ids = [5 + len(word) for word in text.split()]
        ids = [1, *ids, 2] if add_special_tokens else ids
        return {"input_ids": ids[:max_length], "attention_mask": [1] * len(ids[:max_length])}

    def pad(self, encoded, return_tensors):
        longest = max(len(one["input_ids"]) for one in encoded)
        return {
            key: torch.tensor([one[key] + [0] * (longest - len(one[key])) for one in encoded])
            for key in ("input_ids", "attention_mask")
        }


def test_batches_are_longest_first_and_cut():
    made = make_batches(Words(), ["a b", "a b c d e f", "a"], 6, 2, lambda name: name != "token_type_ids")
    assert [tuple(one["input_ids"].shape) for one in made] == [(2, 6), (1, 3)]


@pytest.mark.parametrize("texts", [[], ["word"], ["", "one"]])
def test_text_without_two_tokens_is_refused(texts):
    with pytest.raises(InputError, match="calibration text"):
        make_batches(Words(), texts, 8, 2, lambda name: True)


@pytest.mark.minilm
def test_pairs_of_texts_are_read_as_the_tokenizer_reads_pairs():
    tokenizer = AutoTokenizer.from_pretrained(find_minilm())
    made = make_batches(tokenizer, [("one text", "another text"), "alone"], 16, 2, lambda name: True)[0]
    expected = tokenizer("one text", "another text")
    assert made["input_ids"][0].tolist() == expected["input_ids"]
    assert made["token_type_ids"][0].tolist() == expected["token_type_ids"]
    assert 1 in expected["token_type_ids"]


def test_inputs_without_time_that_are_as_wide_as_texts_are_long():
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 64}
    model = BertModel(BertConfig(**sizes, vocab_size=400)).eval()
    ids = torch.full((2, 32), 5)
    ids[1, 20:] = 0
    batch = {"input_ids": ids, "attention_mask": (ids > 0).long()}
    pooler = next(block for block in trace(model, batch).blocks if block.name == "pooler.dense")
    seen = collect_second_moments(model, [batch], [pooler], [])
    with torch.no_grad():
        first = model(**batch)[0][:, 0].double()
    torch.testing.assert_close(seen.grams["pooler.dense"], first.T @ first, rtol=1e-4, atol=1e-3)


def test_tokens_of_tied_tables_are_counted():
    """T5's `shared` itself is never called."""
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 1, "num_heads": 4, "decoder_start_token_id": 0}
    model = T5Model(T5Config(**sizes, vocab_size=400)).eval()
    batch = {**padded(), "decoder_input_ids": padded()["input_ids"]}
    tables = trace(model, batch).tables
    counts = collect_second_moments(model, [batch], [], tables).counts
    assert len(tables) == 1
    assert int(counts[tables[0].name][5]) == 2
