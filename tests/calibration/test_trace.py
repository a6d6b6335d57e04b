"""Blocks are found by running the model, on architectures with nothing in common but linears."""

import pytest
import torch
from torch import nn
from transformers import (
    AlbertConfig,
    AlbertModel,
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertForMaskedLM,
    BertModel,
    DebertaV2Config,
    DebertaV2Model,
    FalconConfig,
    FalconModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    T5Config,
    T5Model,
)

from dsformer.calibration.trace import trace
from dsformer.errors import InputError

SMALL = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "vocab_size": 400,
}


def batch(**extra):
    ids = torch.arange(12).view(2, 6) + 5
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), **extra}


def names(tracing):
    return [block.names for block in tracing.blocks]


def test_bert_stacks_query_key_value():
    found = trace(BertModel(BertConfig(**SMALL, max_position_embeddings=64)).eval(), batch())
    first = "encoder.layer.0.attention.self."
    assert names(found)[0] == (first + "query", first + "key", first + "value")
    assert found.blocks[0].shape == (192, 64)
    assert len(found.blocks) == 2 * 4 + 1
    assert [table.name for table in found.tables] == ["embeddings.word_embeddings"]


def test_layers_are_apart_where_they_are_not_to_be_stacked():
    model = BertModel(BertConfig(**SMALL, max_position_embeddings=64)).eval()
    stacked, apart = trace(model, batch()), trace(model, batch(), stacked=False)
    assert names(apart) == [(name,) for block in stacked.blocks for name in block.names]


def test_llama_stacks_gate_and_up():
    config = LlamaConfig(**SMALL, num_key_value_heads=2, tie_word_embeddings=False)
    found = names(trace(LlamaForCausalLM(config).eval(), batch()))
    assert ("model.layers.0.mlp.gate_proj", "model.layers.0.mlp.up_proj") in found
    first = "model.layers.0.self_attn."
    assert (first + "q_proj", first + "k_proj", first + "v_proj") in found
    assert ("lm_head",) in found


def test_conv1d_weights_are_read_transposed_and_the_head_is_tied():
    model = GPT2LMHeadModel(GPT2Config(n_embd=64, n_layer=1, n_head=4, vocab_size=400, n_positions=32)).eval()
    found = trace(model, batch())
    assert found.blocks[0].kind == "conv1d"
    assert found.blocks[0].shape == (192, 64)
    assert [(table.name, table.tied) for table in found.tables] == [("transformer.wte", ("lm_head",))]


def test_shared_layers_are_one_block():
    found = trace(AlbertModel(AlbertConfig(**SMALL, embedding_size=32, num_hidden_groups=1)).eval(), batch())
    assert sum("query" in " ".join(block) for block in names(found)) == 1


def test_modules_with_other_inputs_are_not_stacked():
    config = DebertaV2Config(
        **SMALL, relative_attention=True, position_buckets=8, pos_att_type=["p2c", "c2p"], share_att_key=True
    )
    found = names(trace(DebertaV2Model(config).eval(), batch()))
    first = "encoder.layer.0.attention.self."
    # Query and key also project the relative positions; value does not.
    assert (first + "query_proj", first + "key_proj") in found
    assert (first + "value_proj",) in found


def test_encoder_decoder_tables_are_tied():
    config = T5Config(d_model=64, d_kv=16, d_ff=128, num_layers=1, num_decoder_layers=1, num_heads=4, vocab_size=400)
    model = T5Model(config).eval()
    found = trace(model, {**batch(), "decoder_input_ids": batch()["input_ids"]})
    assert len(found.tables) == 1
    assert any("EncDecAttention.k" in " ".join(block) for block in names(found))


def test_masked_language_model_head_is_tied():
    found = trace(BertForMaskedLM(BertConfig(**SMALL)).eval(), batch())
    assert found.tables[0].tied == ("cls.predictions.decoder",)


def test_include_exclude_silent_and_small():
    model = BertModel(BertConfig(**SMALL)).eval()
    model.unused = nn.Linear(64, 64)
    model.pooler.tiny = nn.Linear(64, 2)
    model.pooler.register_forward_hook(lambda module, args, out: module.tiny(out))
    found = trace(model, batch(), include=["*"], exclude=["*.query"])
    assert found.silent == ["unused"]
    assert found.small == ["pooler.tiny"]
    assert [name for name in found.excluded if "query" in name] == found.excluded
    first = "encoder.layer.0.attention.self."
    assert (first + "key", first + "value") in names(found)
    only = trace(model, batch(), include=["encoder.layer.1.*"])
    assert all(name.startswith("encoder.layer.1.") for block in names(only) for name in block)


def test_nothing_to_compress_is_said():
    with pytest.raises(InputError, match="no linear layers"):
        trace(nn.Sequential(nn.Embedding(400, 32)), {"input": torch.arange(3)})
    with pytest.raises(InputError, match="include"):
        trace(BertModel(BertConfig(**SMALL)).eval(), batch(), include=["nowhere"])


def test_heads_tied_to_tables_that_scale_are_no_layers_of_their_own():
    sizes = {"d_model": 64, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 4}
    sizes |= {"decoder_attention_heads": 4, "encoder_ffn_dim": 128, "decoder_ffn_dim": 128}
    model = BartForConditionalGeneration(BartConfig(**sizes, vocab_size=400, scale_embedding=True)).eval()
    found = trace(model, {**batch(), "decoder_input_ids": batch()["input_ids"]})
    assert not any("lm_head" in name for block in names(found) for name in block)
    assert "lm_head" not in [*found.small, *found.silent]


@pytest.mark.parametrize("field", ["include", "exclude"])
def test_a_pattern_that_fits_no_layer_is_named(field: str):
    patterns = {"include": ["*"], field: ["*.query", "*.pooler.*"]}
    with pytest.raises(InputError, match=r"no layer fits '\*.pooler.\*' .* names are such as encoder"):
        trace(BertModel(BertConfig(**SMALL)).eval(), batch(), **patterns)


def test_layers_whose_weight_is_that_of_others_stay():
    model = BertModel(BertConfig(**SMALL)).eval()
    first, second = (layer.intermediate.dense for layer in model.encoder.layer)
    second.weight = first.weight
    model.pooler.table = nn.Bilinear(1, 64, 64)
    model.pooler.table.weight = model.pooler.dense.weight
    found = trace(model, batch())
    assert sorted(found.shared) == [
        "encoder.layer.0.intermediate.dense",
        "encoder.layer.1.intermediate.dense",
        "pooler.dense",
    ]
    assert not any(set(block) & set(found.shared) for block in names(found))


def test_tables_that_others_have_in_another_way_stay():
    """I-BERT's head is tied to a table of a class of its own, BART's decoder scales the encoder's."""
    model = BertForMaskedLM(BertConfig(**SMALL)).eval()
    other = nn.Bilinear(1, 64, 400)
    other.weight = model.bert.embeddings.word_embeddings.weight
    model.other = other
    found = trace(model, batch())
    assert "bert.embeddings.word_embeddings" not in [table.name for table in found.tables]
    assert not any("decoder" in name for block in names(found) for name in block)


def test_linear_layers_of_classes_of_their_own():
    config = FalconConfig(hidden_size=64, num_hidden_layers=1, num_attention_heads=4, vocab_size=400)
    found = trace(FalconModel(config).eval(), batch())
    assert any("dense_h_to_4h" in name for block in names(found) for name in block)

    class Own(nn.Linear):
        pass

    with pytest.raises(InputError, match=r"no linear layers of torch's own class \(its are Own\)"):
        trace(nn.Sequential(Own(64, 64)), {"input": torch.ones(1, 64)})
