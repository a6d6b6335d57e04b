import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dsformer.allocation.structured_budget import ChannelValue, allocate_channels


def worth(count: int, power: float, bits: int, importance: float = 1.0) -> ChannelValue:
    return ChannelValue(torch.linspace(0, 1, count, dtype=torch.float64) ** power, bits, importance)


@given(
    st.lists(
        st.tuples(st.integers(2, 60), st.floats(0.5, 4), st.integers(10, 500), st.floats(0.01, 10)),
        min_size=1,
        max_size=6,
    ),
    st.floats(0.05, 1),
)
@settings(max_examples=60, deadline=None)
def test_counts_fit_the_budget_and_leave_little(parts, share):
    worths = [worth(*part) for part in parts]
    bits = int(share * sum(one.bits * one.count for one in worths))
    counts = allocate_channels(worths, bits)
    if counts is None:
        assert bits < sum(one.bits for one in worths)
        return
    spent = sum(one.bits * count for one, count in zip(worths, counts, strict=True))
    assert spent <= bits
    assert all(1 <= count <= one.count for one, count in zip(worths, counts, strict=True))
    # Nothing that still fits was left out.
    open_ends = [one.bits for one, count in zip(worths, counts, strict=True) if count < one.count]
    assert not open_ends or bits - spent < max(open_ends)


def test_what_matters_more_keeps_more():
    low, high = allocate_channels([worth(40, 2, 100, 1.0), worth(40, 2, 100, 10.0)], 4000)
    assert high > low
    assert low + high == 40


def test_the_total_error_is_least():
    worths = [worth(12, 3, 10, 1.0), worth(12, 1.5, 10, 2.0)]
    counts = allocate_channels(worths, 120)

    def total(first: int) -> float:
        kept = (first, 12 - first)
        return sum(one.importance * float(one.errors[12 - n]) for one, n in zip(worths, kept, strict=True))

    assert total(counts[0]) == min(total(first) for first in range(1, 12))
