import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dsformer.allocation.budgets import LEAST_SHARE, Demand, allocate_balanced, allocate_uniform

SHAPES = [(384, 384), (1536, 384), (384, 1536), (1152, 384)]


def demand(shape, decay):
    return Demand(shape, decay ** torch.arange(min(shape), dtype=torch.float32))


@given(st.lists(st.tuples(st.sampled_from(SHAPES), st.floats(0.9, 0.999)), min_size=1, max_size=6), st.floats(1.3, 8))
@settings(max_examples=30, deadline=None)
def test_budgets_are_spent_and_bounded(blocks, ratio):
    demands = [demand(shape, decay) for shape, decay in blocks]
    bits = int(sum(one.values for one in demands) * 32 / ratio)
    shares = allocate_balanced(demands, bits, 32)
    assert sum(shares) <= bits
    for share, base, one in zip(shares, allocate_uniform(demands, bits), demands, strict=True):
        assert LEAST_SHARE * base - 1 <= share <= one.values * 32 + 1


def test_flat_spectra_get_more_than_steep_ones():
    demands = [demand((384, 384), 0.95), demand((384, 384), 0.995)]
    steep, flat = allocate_balanced(demands, 2 * 384 * 384 * 32 // 3, 32)
    assert flat > steep


def test_balanced_lowers_the_predicted_error():
    demands = [demand(shape, decay) for shape, decay in zip(SHAPES, (0.97, 0.99, 0.98, 0.995), strict=True)]
    bits = sum(one.values for one in demands) * 32 // 3

    def total(shares):
        ranks = [torch.tensor([share / (32 * sum(one.shape))]) for share, one in zip(shares, demands, strict=True)]
        return sum(float(one.errors(rank)) for one, rank in zip(demands, ranks, strict=True))

    assert total(allocate_balanced(demands, bits, 32)) < total(allocate_uniform(demands, bits))


def test_uniform_is_proportional():
    shares = allocate_uniform([demand((64, 32), 0.9), demand((64, 64), 0.9)], 6000)
    assert shares == [2000, 4000]
