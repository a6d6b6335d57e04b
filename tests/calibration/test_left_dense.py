"""What is left as it is adds up to the rest of the file, and is named."""

import pytest
import torch
from transformers import BertConfig, BertModel, MixtralConfig, MixtralForCausalLM

from dsformer.allocation.plan import count_stored_bytes
from dsformer.calibration.left_dense import VECTORS, list_left_dense
from dsformer.calibration.trace import trace

SMALL = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 400}


def batch():
    ids = torch.arange(12).view(2, 6) + 5
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


@pytest.fixture
def mixtral():
    fields = {"num_key_value_heads": 2, "num_local_experts": 4, "intermediate_size": 96, "tie_word_embeddings": False}
    return MixtralForCausalLM(MixtralConfig(**SMALL, **fields)).eval()


def test_experts_are_named_with_their_bytes(mixtral):
    found = trace(mixtral, batch())
    left = {one.reason: one for one in list_left_dense(mixtral, found, found.blocks, 16)}
    experts = left["experts, several weights in one tensor"]
    assert len(experts.names) == 4
    assert {name.rpartition(".")[2] for name in experts.names} == {"gate_up_proj", "down_proj"}
    assert experts.bytes == 2 * 4 * 3 * 64 * 96 * 2
    assert left["embedding tables"].names == ("model.embed_tokens",)
    assert left["embedding tables"].bytes == 400 * 64 * 2
    assert left[VECTORS].names == ()


@pytest.mark.parametrize("tables", [False, True])
def test_all_that_is_left_adds_up(mixtral, tables: bool):
    model = BertModel(BertConfig(**SMALL, intermediate_size=128)).eval()
    for one in (model, mixtral):
        found = trace(one, batch(), exclude=["*q_proj" if one is mixtral else "*query"])
        blocks = found.blocks + (found.tables if tables else [])
        left = list_left_dense(one, found, blocks, 32)
        own = sum(parameter.numel() * 4 for block in blocks for m in block.modules for parameter in m.parameters())
        assert sum(group.bytes for group in left) == count_stored_bytes(one, 32) - own
        reasons = {group.reason: group for group in left}
        assert reasons["excluded"].names == tuple(found.excluded)
        assert [group.bytes for group in left] == sorted((group.bytes for group in left), reverse=True)
