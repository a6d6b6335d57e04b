import pytest
import torch
from torch import nn

from dsformer.calibration import absorbed, trace
from fixtures.models import inputs, tiny_model


def found(name: str) -> dict[str, str]:
    model = tiny_model(name)
    return absorbed(model, inputs(model), trace(model, inputs(model)).blocks)


@pytest.mark.parametrize(
    ("name", "layer", "activation"),
    [
        (
            "T5ForConditionalGeneration",
            "encoder.block.{}.layer.1.DenseReluDense.wi",
            "encoder.block.{}.layer.1.DenseReluDense.act",
        ),
        (
            "BertForMaskedLM",
            "bert.encoder.layer.{}.intermediate.dense",
            "bert.encoder.layer.{}.intermediate.intermediate_act_fn",
        ),
        ("GPT2LMHeadModel", "transformer.h.{}.mlp.c_fc", "transformer.h.{}.mlp.act"),
    ],
)
def test_the_activation_of_every_feed_forward_layer(name: str, layer: str, activation: str):
    pairs = found(name)
    assert {layer.format(i): activation.format(i) for i in range(2)}.items() <= pairs.items()


def test_gates_have_none():
    assert found("LlamaForCausalLM") == {}


class Skipping(nn.Module):
    """The first layer's output is read by its activation alone, the second's also by the sum."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(32, 40), nn.Linear(40, 40)
        self.one, self.other = nn.GELU(), nn.GELU()

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        y = self.second(self.one(self.first(x)))
        return (self.other(y) + y,)


def test_outputs_that_something_else_reads_stay():
    torch.manual_seed(0)
    model, batch = Skipping(), {"x": torch.randn(3, 32)}
    assert absorbed(model, batch, trace(model, batch).blocks) == {"first": "one"}
    assert not model.first._forward_hooks
