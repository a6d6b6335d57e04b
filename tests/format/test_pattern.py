import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dsformer.errors import InputError
from dsformer.format.pattern import Pattern, largest, n_of_m


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("free", Pattern(group=1, n=0, m=0)),
        ("grouped(8)", Pattern(group=8, n=0, m=0)),
        ("2:4", Pattern(group=1, n=2, m=4)),
        ("1:4", Pattern(group=1, n=1, m=4)),
    ],
)
def test_pattern_reads_what_it_prints(text: str, pattern: Pattern):
    assert Pattern.parse(text) == pattern
    assert str(pattern) == text


@pytest.mark.parametrize(
    "text",
    ["", "grouped", "grouped(1)", "4:4", "0:4", "5:2", "block", "grouped(99999999999)", "1:99999999999", "grouped(٨)"],
)
def test_unknown_pattern_is_refused_by_name(text):
    with pytest.raises(InputError, match="pattern"):
        Pattern.parse(text)


@given(st.integers(1, 9), st.integers(1, 40), st.data())
def test_largest_keeps_exactly_the_count(rows, width, data):
    count = data.draw(st.integers(0, width))
    scores = torch.randn(rows, width, generator=torch.Generator().manual_seed(rows * width))
    mask = largest(scores, count)
    assert (mask.sum(1) == count).all()
    if 0 < count < width:
        assert scores[mask].view(rows, -1).amin(1).ge(scores[~mask].view(rows, -1).amax(1)).all()


@given(st.integers(1, 5), st.sampled_from([(2, 4), (1, 4), (3, 8), (1, 2)]), st.integers(1, 7))
def test_n_of_m_takes_n_of_every_strided_group(rows, nm, groups):
    n, m = nm
    scores = torch.rand(rows, groups * m, generator=torch.Generator().manual_seed(groups))
    mask = n_of_m(scores, n, m)
    for group in range(groups):
        chosen = mask[:, group::groups]
        assert chosen.shape[1] == m
        assert (chosen.sum(1) == n).all()
        assert torch.equal(chosen, largest(scores[:, group::groups], n))
