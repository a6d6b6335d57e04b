"""Where the rows of narrow layers have their places in the layers they replace."""

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from dsformer.format.schema import BlockConfig
from dsformer.format.spec import dense_spec
from dsformer.nn.resize import match_row_parts, narrow_layer, widen_layer


def block(names, full, own, inputs, read=None, heads=False, kind="linear"):
    """A block with rows left of layers that had more, and inputs left of more."""
    width = inputs if read is None else read
    members = list(zip(names, own, strict=True))
    return BlockConfig.of(kind, members, dense_spec(sum(own), width)).replacing(full, inputs, heads)


def test_gate_and_up_in_one_layer_and_in_two():
    fused = [block(["wi"], [192], [60], 64), block(["wo"], [64], [64], 96, 30)]
    assert match_row_parts(fused) == {"wi": [(96, 30), (96, 30)]}
    two = [block(["gate", "up"], [96, 96], [30, 30], 64), block(["down"], [64], [64], 96, 30)]
    assert match_row_parts(two) == {"gate": [(96, 30)], "up": [(96, 30)]}
    plain = [block(["in"], [96], [30], 64), block(["out"], [64], [64], 96, 30)]
    assert match_row_parts(plain) == {"in": [(96, 30)]}


def test_queries_keys_and_values():
    out = block(["out"], [64], [64], 64, 32)
    assert match_row_parts([block(["qkv"], [192], [96], 64, heads=True), out]) == {"qkv": [(64, 32)] * 3}
    shared = block(["qkv"], [64 + 32], [32 + 16], 64, heads=True)
    assert match_row_parts([shared, out]) == {"qkv": [(64, 32), (16, 8), (16, 8)]}
    apart = block(["q", "kv"], [64, 32], [32, 16], 64, heads=True)
    assert match_row_parts([apart, out]) == {"q": [(64, 32)], "kv": [(16, 8), (16, 8)]}


def test_every_layer_is_read_by_the_next_that_lost_as_much():
    blocks = [
        block(["qkv"], [192], [96], 64, heads=True),
        block(["o"], [64], [64], 64, 32),
        block(["wi"], [128], [64], 64),
        block(["wo"], [64], [64], 64, 32),
    ]
    assert match_row_parts(blocks) == {"qkv": [(64, 32)] * 3, "wi": [(64, 32)] * 2}


def test_rows_without_a_reader_are_followed_by_their_zeros():
    assert match_row_parts([block(["in"], [96], [30], 64)]) == {"in": [(96, 30)]}
    assert match_row_parts([block(["in"], [64], [64], 64)]) == {}


def test_what_was_taken_out_comes_back_as_zeros():
    torch.manual_seed(0)
    kept = torch.tensor([0, 2, 3, 6, 8, 9])
    for layer in (nn.Linear(8, 12), Conv1D(12, 8)):
        nn.init.normal_(layer.bias)
        narrow = narrow_layer(layer, kept, torch.arange(5))
        wide = widen_layer(narrow, [(6, 3), (6, 3)], 8)
        x = torch.randn(2, 8)
        x[:, 5:] = 0
        said = wide(x)
        torch.testing.assert_close(said[:, [0, 1, 2, 6, 7, 8]], layer(x)[:, kept])
        assert not said[:, [3, 4, 5, 9, 10, 11]].any()
        assert type(wide) is type(layer)
