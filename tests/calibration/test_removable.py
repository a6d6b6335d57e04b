from dataclasses import replace

import pytest
import torch
from transformers import BertConfig, BertModel, GPT2Config, GPT2Model, LlamaConfig, LlamaModel, T5Config, T5Model

from dsformer.calibration.removable import RemovableChannels, find_removable_channels, without_channels
from dsformer.calibration.symmetry import run_model
from dsformer.calibration.trace import trace
from dsformer.format.channels import KeptChannels
from dsformer.nn.resize import narrow_layers, split_rows
from fixtures.models import tiny_model

SMALL = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 400}


def batch():
    ids = torch.arange(12).view(2, 6) + 5
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def found(model, given=None):
    """RemovableChannels of a model, which is afterwards as it was."""
    given = given or batch()
    blocks = trace(model, given).blocks
    before, modules = run_model(model, given), dict(model.named_modules())
    attributes = {name: dict(vars(module)) for name, module in modules.items()}
    channels = find_removable_channels(model, given, blocks)
    assert torch.equal(run_model(model, given), before)
    assert dict(model.named_modules()) == modules
    for name, module in modules.items():
        sizes = {key: value for key, value in vars(module).items() if isinstance(value, int)}
        assert sizes == {key: value for key, value in attributes[name].items() if isinstance(value, int)}
    return channels, {block.name: block for block in blocks}


@pytest.fixture
def bert():
    torch.manual_seed(0)
    return BertModel(BertConfig(**SMALL, intermediate_size=128)).eval()


def test_heads_and_neurons(bert):
    channels, _ = found(bert)
    layer = "encoder.layer.1"
    assert len(channels) == 4
    parts = ((0, 16), (64, 16), (128, 16))
    attention = f"{layer}.attention.self.query", f"{layer}.attention.output.dense"
    assert channels[2] == RemovableChannels(*attention, parts, 4, 16, True)
    assert channels[3] == RemovableChannels(
        f"{layer}.intermediate.dense", f"{layer}.output.dense", ((0, 1),), 128, 1, False
    )


def test_fused_queries_keys_and_values():
    torch.manual_seed(0)
    model = GPT2Model(GPT2Config(n_embd=64, n_layer=1, n_head=4, vocab_size=400)).eval()
    channels, _ = found(model)
    assert [(one.count, one.width, one.heads) for one in channels] == [(4, 16, True), (256, 1, False)]


def test_heads_that_share_keys_and_values_and_gates():
    torch.manual_seed(0)
    fields = SMALL | {"hidden_size": 128, "num_hidden_layers": 1}
    model = LlamaModel(LlamaConfig(**fields, num_key_value_heads=2, intermediate_size=96)).eval()
    channels, _ = found(model)
    # Two queries of 32 dimensions read one key.
    assert channels[0].parts == ((0, 64), (128, 32), (192, 32))
    assert (channels[0].count, channels[0].width) == (2, 64)
    assert channels[1].parts == ((0, 1), (96, 1))


def test_heads_with_a_bias_of_their_own_stay():
    torch.manual_seed(0)
    config = T5Config(d_model=64, d_kv=16, d_ff=128, num_layers=1, num_heads=4, vocab_size=400)
    given = {**batch(), "decoder_input_ids": batch()["input_ids"]}
    channels, _ = found(T5Model(config).eval(), given)
    assert [one.heads for one in channels] == [False, False]


def test_layers_used_many_times():
    channels, _ = found(tiny_model("AlbertForMaskedLM"))
    assert [one.heads for one in channels] == [True, False]


@pytest.mark.parametrize("position", [0, 1])
def test_without_them_the_model_says_what_it_says_when_they_are_not_read(bert, position):
    channels, blocks = found(bert)
    one = channels[position]
    writer, reader = blocks[one.writer], blocks[one.reader]
    kept = torch.tensor([0, 3])
    with without_channels(bert, writer, reader, one, kept):
        short = run_model(bert, batch())
        assert bert.get_submodule(one.reader).in_features == 2 * one.width
    gone = torch.ones(64 if one.heads else 128, dtype=torch.bool)
    gone[one.columns(kept)] = False
    bert.get_submodule(one.reader).weight.data[:, gone] = 0
    torch.testing.assert_close(short, run_model(bert, batch()), rtol=1e-4, atol=1e-5)


def test_layers_whose_outputs_are_read_elsewhere_stay(bert):
    layer = bert.encoder.layer[0]
    plain = layer.intermediate.forward
    # What the neurons say is normalised: each depends on all of them.
    layer.intermediate.forward = lambda x: 100 * torch.softmax(plain(x), -1)
    channels, _ = found(bert)
    assert [one.writer for one in channels if not one.heads] == ["encoder.layer.1.intermediate.dense"]


def test_rows_of_stacked_layers():
    rows = torch.tensor([0, 5, 8, 9, 15])
    assert [part.tolist() for part in split_rows(rows, (8, 4, 4))] == [[0, 5], [0, 1], [3]]


def test_biases_and_rows_go_together(bert):
    block = trace(bert, batch()).blocks[0]
    query, rows = bert.encoder.layer[0].attention.self.query, torch.tensor([0, 1, 65, 130])
    query.bias.data.normal_()
    narrow_layers(bert, block.names, KeptChannels(rows=rows))
    short = bert.encoder.layer[0].attention.self.query
    assert torch.equal(short.bias, query.bias[:2])
    assert torch.equal(short.weight, query.weight[:2])
    assert bert.encoder.layer[0].attention.self.num_attention_heads == 4
    assert replace(block, modules=(short,)).shape == (2, 64)


def test_half_precision_is_no_obstacle():
    torch.manual_seed(0)
    model = BertModel(BertConfig(**SMALL, intermediate_size=128, initializer_range=0.2)).eval()
    expected, _ = found(model)
    half = model.bfloat16()
    before = {name: tensor.clone() for name, tensor in half.state_dict().items()}
    assert find_removable_channels(half, batch(), trace(half, batch()).blocks) == expected
    for name, tensor in half.state_dict().items():
        assert tensor.dtype == before[name].dtype
        assert torch.equal(tensor, before[name])
