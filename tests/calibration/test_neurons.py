import pytest
import torch
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM

from dsformer.calibration import interchangeable, reorder, trace

SMALL = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 400}


@pytest.fixture
def bert():
    torch.manual_seed(0)
    return BertModel(BertConfig(**SMALL, intermediate_size=128)).eval()


def batch():
    ids = torch.arange(12).view(2, 6) + 5
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def test_feed_forward_neurons_are_found_by_trying(bert):
    before = {name: tensor.clone() for name, tensor in bert.state_dict().items()}
    found = interchangeable(bert, batch(), trace(bert, batch()).blocks)
    expected = {f"encoder.layer.{i}.intermediate.dense": f"encoder.layer.{i}.output.dense" for i in range(2)}
    assert found == expected
    assert all(torch.equal(tensor, before[name]) for name, tensor in bert.state_dict().items())


def test_equal_sizes_are_not_enough():
    # Attention output and FFN input have fitting sizes here, but a residual and a normalisation between them.
    torch.manual_seed(0)
    model = BertModel(BertConfig(**SMALL, intermediate_size=64)).eval()
    found = interchangeable(model, batch(), trace(model, batch()).blocks)
    assert set(found) == {f"encoder.layer.{i}.intermediate.dense" for i in range(2)}


def test_stacked_gates_are_left_alone():
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SMALL, intermediate_size=128)).eval()
    assert interchangeable(model, batch(), trace(model, batch()).blocks) == {}


def test_reordering_keeps_the_output(bert):
    blocks = {block.name: block for block in trace(bert, batch()).blocks}
    up, down = blocks["encoder.layer.1.intermediate.dense"], blocks["encoder.layer.1.output.dense"]
    with torch.no_grad():
        before = bert(**batch())[0]
        reorder(up, down, torch.randperm(128, generator=torch.Generator().manual_seed(0)))
        torch.testing.assert_close(bert(**batch())[0], before, atol=1e-4, rtol=1e-4)
