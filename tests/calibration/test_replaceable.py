"""Layers that a model's own code reads are found by trying, and left dense."""

import pytest
import torch
from torch import nn

from dsformer.calibration.replaceable import keep_replaceable
from dsformer.calibration.trace import trace
from dsformer.errors import InputError

IDS = {"ids": torch.arange(24).view(2, 12)}


class Model(nn.Module):
    """Three layers, a table and a head tied to it; what it says depends on ``last``."""

    def __init__(self, read):
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(160, 32)
        self.first, self.second = nn.Linear(32, 48), nn.Linear(48, 32)
        self.head = nn.Linear(32, 160, bias=False)
        self.head.weight = self.table.weight
        self.read = read

    def forward(self, ids: torch.Tensor) -> tuple[torch.Tensor]:
        x = self.second(torch.relu(self.first(self.table(ids))))
        return (self.head(self.read(self, x)),)


CASES = {
    "weight": (lambda model, x: x + x @ model.second.weight @ model.second.weight.T, ["second"], False),
    "sum of a weight": (lambda model, x: x * model.first.weight.sum(1).norm(), ["first"], False),
    "class": (lambda model, x: x if isinstance(model.first, nn.Linear) else -x, ["first"], False),
    "type": (lambda model, x: x.to(model.first.weight.dtype), [], False),
    "type of bytes": (lambda model, x: x.to(model.first.weight.dtype), ["first"], True),
    "table": (lambda model, x: x + model.table.weight[:12], ["table"], False),
    "count of rows": (lambda model, x: x / model.table.weight.shape[0], [], False),
    "bias": (lambda model, x: x + model.second.bias, [], True),
}


@pytest.mark.parametrize(("read", "names", "rounded"), CASES.values(), ids=CASES)
def test_what_is_read_stays(read, names, rounded):
    model = Model(read).eval()
    before, expected = dict(model.named_modules()), model(**IDS)[0]
    found = trace(model, IDS)
    assert [table.tied for table in found.tables] == [("head",)]
    kept = keep_replaceable(model, IDS, found, rounded)
    assert kept.read == names
    assert {block.name for block in (*kept.blocks, *kept.tables)} == {"first", "second", "table"} - set(names)
    assert dict(model.named_modules()) == before
    assert torch.equal(model(**IDS)[0], expected)


def test_a_model_that_reads_all_of_them_is_refused():
    model = Model(lambda model, x: x * model.first.weight.sum(1).norm() * model.second.weight.sum(1).norm()).eval()
    with pytest.raises(InputError, match="reads the weights of all its linear layers"):
        keep_replaceable(model, IDS, trace(model, IDS))


def test_what_is_not_finite_is_compared_too():
    model = Model(lambda model, x: x.masked_fill(x > 0, float("nan"))).eval()
    assert keep_replaceable(model, IDS, trace(model, IDS)).read == []


def test_what_is_drawn_at_random_does_not_matter():
    model = Model(lambda model, x: x + torch.randn_like(x)).eval()
    assert keep_replaceable(model, IDS, trace(model, IDS)).read == []
