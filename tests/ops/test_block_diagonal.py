"""Block-diagonal factors run as batched products: what the dense weight says."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import linear

from dsformer.factorization.form import Form
from dsformer.factorization.spec import FormSpec
from dsformer.ops.backends.cpu import BlockDiagonalPlan, plan_of
from fixtures.forms import random_form

sizes = st.integers(1, 5)


@given(
    blocks=st.integers(2, 5),
    rank=st.integers(1, 7),
    size=st.integers(2, 5),
    members=st.lists(sizes, min_size=1, max_size=3),
    tokens=st.sampled_from((0, 1, 2, 17)),
    biased=st.booleans(),
)
def test_as_the_dense_weight(blocks: int, rank: int, size: int, members: list[int], tokens: int, biased: bool):
    rows = [blocks * count for count in members]
    spec = FormSpec("input", sum(rows), blocks * size, rank * blocks, 0, rank, dictionary_nonzeros=size, blocks=blocks)
    form = random_form(spec)
    bias = torch.randn(spec.units) if biased else None
    x = torch.randn(spec.width, 2, tokens).permute(2, 1, 0)
    ys = BlockDiagonalPlan(form, bias, rows)(x)
    assert [y.shape for y in ys] == [(tokens, 2, count) for count in rows]
    assert all(y.is_contiguous() for y in ys)
    torch.testing.assert_close(torch.cat(ys, -1), linear(x, form.dense(), bias), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_is_the_plan_of_such_forms(dtype: torch.dtype):
    spec = FormSpec("input", 24, 16, 12, 0, 3, dictionary_nonzeros=4, blocks=4)
    form = random_form(spec)
    stored = Form(spec, form.dictionary.to(dtype), form.values.to(dtype), form.indices)
    plan = plan_of(stored, None, [16, 8], dtype)
    assert isinstance(plan, BlockDiagonalPlan)
    x = torch.randn(3, 16, dtype=dtype)
    y = torch.cat(plan(x), 1)
    assert y.dtype is dtype
    near = 1e-5 if dtype is torch.float32 else 5e-2
    torch.testing.assert_close(y.float(), linear(x.float(), stored.dense().float()), rtol=near, atol=near)
