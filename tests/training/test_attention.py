import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention
from torch.utils._python_dispatch import TorchDispatchMode

from dsformer.training.attention import LONGEST, SinglePrecisionAttention


class Types(TorchDispatchMode):
    """Notes in which types attention is really computed."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if "scaled_dot_product" in str(func):
            self.seen.append(args[0].dtype if args[0].ndim == 4 else args[1].dtype)
        return func(*args, **(kwargs or {}))


def inputs(tokens=5):
    torch.manual_seed(0)
    return [torch.randn(2, 3, tokens, 8).bfloat16().requires_grad_() for _ in range(3)]


def test_forward_and_gradient_are_computed_in_single_precision_and_returned_in_the_type_asked_for():
    query, key, value = inputs()
    with Types() as types, torch.autocast("cpu", torch.bfloat16):
        with SinglePrecisionAttention():
            output = scaled_dot_product_attention(query, key, value, attn_mask=torch.zeros(2, 1, 5, 5).bfloat16())
        output.sum().backward()
    assert output.dtype == query.grad.dtype == torch.bfloat16
    assert len(types.seen) >= 2
    assert set(types.seen) == {torch.float32}


def test_results_are_those_of_float32():
    query, key, value = inputs()
    mask = torch.ones(2, 1, 5, 5, dtype=torch.bool).tril()
    with SinglePrecisionAttention(), torch.autocast("cpu", torch.bfloat16):
        found = scaled_dot_product_attention(query, key, value, attn_mask=mask)
    single = scaled_dot_product_attention(query.float(), key.float(), value.float(), attn_mask=mask)
    torch.testing.assert_close(found, single.bfloat16(), rtol=0, atol=0)


def test_arguments_by_name_and_double_precision():
    query, key, value = inputs()
    with SinglePrecisionAttention(), torch.autocast("cpu", torch.bfloat16), Types() as types:
        scaled_dot_product_attention(query=query, key=key, value=value)
    assert set(types.seen) == {torch.float32}
    with SinglePrecisionAttention(), Types() as types:
        found = scaled_dot_product_attention(query.double(), key.double(), value.double())
    assert found.dtype == torch.float64
    assert set(types.seen) == {torch.float64}


def test_long_texts_stay_as_they_are():
    query, key, value = inputs(LONGEST + 1)
    with SinglePrecisionAttention(), Types() as types:
        scaled_dot_product_attention(query, key, value)
    assert set(types.seen) == {torch.bfloat16}


def test_without_gradients_and_elsewhere_nothing_changes():
    query, key, value = inputs()
    linear = nn.Linear(8, 8)
    with SinglePrecisionAttention(), torch.autocast("cpu", torch.bfloat16):
        assert linear(value).dtype == torch.bfloat16
        with torch.no_grad(), Types() as types:
            scaled_dot_product_attention(query, key, value)
    assert set(types.seen) == {torch.bfloat16}
