"""Structured pruning of one weight against every other way to do it."""

from dataclasses import replace
from itertools import combinations

import pytest
import torch

from dsformer.factorization import channel_removal as channels
from dsformer.factorization.channel_removal import ChannelOrder, order_channels, remove_channels, repair_columns
from dsformer.factorization.metric import Metric
from dsformer.factorization.target import Target
from dsformer.format.channels import KeptChannels


@pytest.fixture
def weight() -> Target:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(60, 8, generator=generator) @ torch.randn(8, 8, generator=generator)
    gradients = torch.randn(40, 6, generator=generator) @ torch.randn(6, 6, generator=generator)
    output = Metric.from_gram(gradients.T @ gradients)
    return Target(torch.randn(6, 8, generator=generator), Metric.from_gram(inputs.T @ inputs, output=output), (6,))


def error(weight: Target, columns: torch.Tensor) -> float:
    """Of the best weight with these columns alone, found by least squares."""
    target = weight.metric.factor.T @ weight.matrix.T
    solved = torch.linalg.lstsq(weight.metric.factor.T[:, columns].double(), target.double()).solution
    whole = torch.zeros_like(weight.matrix)
    whole[:, columns] = solved.T.float()
    metric = weight.metric
    return float((metric.weighed(weight.matrix - whole).norm() / metric.weighed(weight.matrix).norm()) ** 2)


def members(kept: list[int], size: int) -> torch.Tensor:
    return torch.tensor([channel * size + i for channel in kept for i in range(size)])


@pytest.mark.parametrize("size", [1, 2])
def test_each_step_takes_the_channel_that_costs_least(weight: Target, size: int):
    gone, count = order_channels(weight, size), 8 // size
    assert sorted([*gone.order.tolist(), *gone.kept(1).tolist()]) == list(range(count))
    left = list(range(count))
    for step, channel in enumerate(gone.order.tolist()):
        costs = {one: error(weight, members([other for other in left if other != one], size)) for one in left}
        assert channel == min(costs, key=costs.__getitem__)
        left.remove(channel)
        assert float(gone.errors[step + 1]) == pytest.approx(costs[channel], rel=1e-3)
        assert gone.kept(len(left)).tolist() == left
    assert float(gone.errors[0]) == 0


def test_one_that_goes_alone_is_the_best_of_all(weight: Target):
    best = min(combinations(range(4), 3), key=lambda kept: error(weight, members(list(kept), 2)))
    assert order_channels(weight, 2).kept(3).tolist() == list(best)


def test_several_at_once_cost_what_they_cost(weight: Target, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(channels, "AT_ONCE", 0.4)
    gone = order_channels(weight, 1)
    # Of eight three go at once, then two.
    for count in (3, 5):
        left = members(gone.kept(8 - count).tolist(), 1)
        assert float(gone.errors[count]) == pytest.approx(error(weight, left), rel=1e-3)
    assert bool((gone.errors.diff() >= 0).all())


def test_repair_is_the_optimum(weight: Target):
    columns = torch.tensor([0, 2, 3, 7])
    left = repair_columns(weight.matrix, weight.metric, columns)
    residual = weight.matrix.clone()
    residual[:, columns] -= left
    # What is left over has nothing to do with the inputs that stay.
    assert float((residual @ weight.metric.gram[:, columns]).abs().max()) < 1e-3


def test_what_stays(weight: Target):
    rows, columns = torch.tensor([1, 4]), torch.tensor([0, 2, 3, 7])
    found = remove_channels(weight, KeptChannels(rows, columns))
    assert torch.allclose(found.form.dense(), repair_columns(weight.matrix, weight.metric, columns)[rows])
    assert found.error**2 == pytest.approx(error(weight, columns), rel=1e-3)
    assert KeptChannels(rows, columns).shape((6, 8)) == (2, 4)
    whole = remove_channels(weight, KeptChannels())
    assert torch.equal(whole.form.dense(), weight.matrix)
    assert whole.error == 0
    assert whole.form.spec.stored_bits(32) == 32 * 6 * 8


def test_inputs_that_are_never_there_go_first(weight: Target):
    inputs = torch.randn(60, 8, generator=torch.Generator().manual_seed(1))
    inputs[:, 5] = 0
    silent = replace(weight, metric=Metric.from_gram(inputs.T @ inputs))
    assert int(order_channels(silent, 1).order[0]) == 5


def test_the_first_that_go_are_the_first_in_order():
    gone = ChannelOrder(torch.tensor([3, 0, 2]), torch.tensor([0.0, 0.1, 0.2, 0.5]))
    assert gone.kept(4).tolist() == [0, 1, 2, 3]
    assert gone.kept(2).tolist() == [1, 2]
