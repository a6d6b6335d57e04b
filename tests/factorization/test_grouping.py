import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from dsformer.factorization.grouping import Grouping
from dsformer.format.row_spans import RowSpan, stack_spans
from dsformer.utils.matching import deferred_acceptance


@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 99))
def test_assignment_is_balanced_and_stable(groups, capacity, seed):
    gain = np.random.default_rng(seed).standard_normal((groups * capacity, groups))
    labels = deferred_acceptance(gain, capacity)
    assert (np.bincount(labels, minlength=groups) == capacity).all()
    for unit, own in enumerate(labels):
        for other in range(groups):
            worst = gain[labels == other, other].min()
            # No unit and group both prefer each other to what they have.
            assert not (gain[unit, other] > gain[unit, own] and gain[unit, other] > worst)


def test_units_with_one_support_end_up_together():
    generator = torch.Generator().manual_seed(0)
    wanted = torch.arange(8).repeat_interleave(4)[torch.randperm(32, generator=generator)]
    energy = torch.rand(32, 24, generator=generator) * 0.1
    for unit, group in enumerate(wanted):
        energy[unit, group * 3 : group * 3 + 3] += 1
    grouping = Grouping(stack_spans([32]), 4)
    for _ in range(5):
        grouping.improve(energy, 3)
    kept = energy * grouping.supports(energy, 3)[grouping.labels]
    assert kept.sum() > 0.97 * energy.topk(3, dim=1).values.sum()


def test_groups_stay_inside_a_member():
    grouping = Grouping(stack_spans([8, 16]), 4)
    grouping.improve(torch.rand(24, 10, generator=torch.Generator().manual_seed(3)), 5)
    order = grouping.order()
    assert sorted(order[:8].tolist()) == list(range(8))
    assert sorted(order.tolist()) == list(range(24))


def test_ranges_ordered_alike_are_grouped_alike():
    spans = (RowSpan((0, 16), 8), RowSpan((8, 24), 8), RowSpan((32,), 8))
    grouping = Grouping(spans, 4)
    generator = torch.Generator().manual_seed(4)
    for _ in range(3):
        grouping.improve(torch.rand(40, 10, generator=generator), 5)
    order = grouping.order()
    for first in (0, 8, 16, 24, 32):
        assert sorted(order[first : first + 8].tolist()) == list(range(first, first + 8))
    assert torch.equal(order[:16], order[16:32] - 16)
