import pytest
import torch
from torch import nn

from dsformer.training.dropout import disable_dropout
from fixtures.models import ARCHITECTURES, inputs, tiny_model


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_no_model_drops_anything_until_it_is_over(name: str):
    model = tiny_model(name).train()
    for module in model.modules():  # some have none by default
        if isinstance(module, nn.Dropout):
            module.p = 0.5
    batch = inputs(model)

    def say() -> torch.Tensor:
        with torch.no_grad():
            return model(**batch)[0]

    with disable_dropout(model):
        assert torch.equal(say(), say())
    rates = {module.p for module in model.modules() if isinstance(module, nn.Dropout)}
    assert rates <= {0.5}
    with disable_dropout(model, wanted=False):
        assert bool(rates) == (not torch.equal(say(), say()))


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention_dropout, self.dropped = 0.5, 3

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.dropout(x, self.attention_dropout, self.training)


def test_rates_kept_by_modules_themselves():
    model, x = Functional(), torch.ones(100)
    with disable_dropout(model):
        assert torch.equal(model(x), x)
    assert (model.attention_dropout, model.dropped) == (0.5, 3)
    assert not torch.equal(model(x), x)
