import torch
from torch import Tensor, nn

from dsformer.allocation.structured_plan import choose_channels
from dsformer.calibration.trace import trace
from dsformer.factorization.metric import Metric
from dsformer.format.precision import Precision
from dsformer.nn.resize import narrow_layers


class Chain(nn.Module):
    """Three layers, each of which reads the one before."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(64, 128), nn.Linear(128, 96), nn.Linear(96, 64)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (self.c(self.b(self.a(x).relu()).relu()),)


def test_a_layer_between_two_others_loses_rows_and_columns():
    torch.manual_seed(0)
    model, batch = Chain().eval(), {"x": torch.randn(32, 64)}
    blocks = trace(model, batch).blocks
    metrics = {block.name: Metric.identity(block.shape[1]) for block in blocks}
    weights = sum(block.shape[0] * block.shape[1] for block in blocks)
    kept = choose_channels(model, blocks, metrics, [batch], 32 * weights // 2, Precision.of(32))
    middle = kept["b"]
    assert middle.rows is not None
    assert middle.columns is not None
    for block in blocks:
        narrow_layers(model, block.names, kept[block.name])
    assert model.b.weight.shape == (len(middle.rows), len(middle.columns))
    assert model(**batch)[0].shape == (32, 64)
