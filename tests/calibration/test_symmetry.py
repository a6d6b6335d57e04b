import pytest
import torch
from transformers import (
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2Model,
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    OPTModel,
)

from dsformer.calibration.symmetry import find_permutation_symmetries, permute_rows
from dsformer.calibration.trace import trace
from dsformer.format.row_spans import RowSpan

SMALL = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 400}


@pytest.fixture
def bert():
    torch.manual_seed(0)
    return BertModel(BertConfig(**SMALL, intermediate_size=128)).eval()


def batch():
    ids = torch.arange(12).view(2, 6) + 5
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def pairs(model, group=1):
    """The readers found, and the model as it was before."""
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = find_permutation_symmetries(model, batch(), trace(model, batch()).blocks, group)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    return {name: exchange.reader for name, exchange in found.items()}


def expected(queries: str, attention: str, up: str, down: str, layers: str) -> dict[str, str]:
    found = {}
    for i in range(2):
        found |= {f"{layers}.{i}.{queries}": f"{layers}.{i}.{attention}", f"{layers}.{i}.{up}": f"{layers}.{i}.{down}"}
    return found


BERT = ("attention.self.query", "attention.output.dense", "intermediate.dense", "output.dense", "encoder.layer")
GPT2 = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj", "h")
OPT = ("self_attn.k_proj", "self_attn.out_proj", "fc1", "fc2", "decoder.layers")


def test_neurons_and_dimensions_of_heads_are_found_by_trying(bert):
    assert pairs(bert) == expected(*BERT)


def test_fused_queries_keys_and_values():
    torch.manual_seed(0)
    model = GPT2Model(GPT2Config(n_embd=64, n_layer=2, n_head=4, vocab_size=400)).eval()
    assert pairs(model) == expected(*GPT2)


def test_another_order_of_queries_keys_and_values():
    torch.manual_seed(0)
    config = OPTConfig(**SMALL, ffn_dim=128, word_embed_proj_dim=64, max_position_embeddings=32)
    model = OPTModel(config).eval()
    assert pairs(model) == expected(*OPT)


def test_queries_and_keys_move_together(bert):
    found = find_permutation_symmetries(bert, batch(), trace(bert, batch()).blocks)
    exchange = found["encoder.layer.0.attention.self.query"]
    assert exchange.start == 128
    assert exchange.spans[:2] == (RowSpan((0, 64), 16), RowSpan((16, 80), 16))
    assert exchange.spans[-1] == RowSpan((176,), 16)


def test_spans_must_hold_whole_groups(bert):
    assert pairs(bert, 32) == {f"encoder.layer.{i}.{BERT[2]}": f"encoder.layer.{i}.{BERT[3]}" for i in range(2)}


def test_equal_sizes_are_not_enough():
    # Attention output and FFN input have fitting sizes here, but a residual and a normalisation between them.
    torch.manual_seed(0)
    model = BertModel(BertConfig(**SMALL, intermediate_size=64)).eval()
    assert pairs(model) == expected(*BERT)


def test_gated_neurons_move_together_and_rotary_heads_do_not():
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SMALL, intermediate_size=128)).eval()
    found = find_permutation_symmetries(model, batch(), trace(model, batch()).blocks)
    assert {name: exchange.spans for name, exchange in found.items()} == {
        f"model.layers.{i}.mlp.gate_proj": (RowSpan((0, 128), 128),) for i in range(2)
    }


@pytest.mark.parametrize("name", ["encoder.layer.1.intermediate.dense", "encoder.layer.1.attention.self.query"])
def test_reordering_keeps_the_output(bert, name):
    blocks = {block.name: block for block in trace(bert, batch()).blocks}
    exchange = find_permutation_symmetries(bert, batch(), list(blocks.values()))[name]
    with torch.no_grad():
        before = bert(**batch())[0]
        weight = blocks[name].weight().clone()
        permute_rows(blocks[name], blocks[exchange.reader], exchange, exchange.random(0))
        assert not torch.equal(blocks[name].weight(), weight)
        torch.testing.assert_close(bert(**batch())[0], before, atol=1e-4, rtol=1e-4)


def test_half_precision_is_no_obstacle():
    torch.manual_seed(0)
    bert = BertModel(BertConfig(**SMALL, intermediate_size=128, initializer_range=0.2)).eval().bfloat16()
    assert pairs(bert) == expected(*BERT)
    assert {parameter.dtype for parameter in bert.parameters()} == {torch.bfloat16}


def test_wider_numbers_are_left_as_they_are(bert):
    third = torch.tensor([1 / 3], dtype=torch.float64)
    bert.register_buffer("third", third.clone())
    bert.bfloat16()
    bert.third = third.clone()
    pairs(bert)
    assert torch.equal(bert.third, third)
