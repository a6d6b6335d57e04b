"""Layers run by the native kernels say what they say without them, and fall back where these do not apply."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from dsformer.format.spec import FormSpec
from dsformer.nn.cpu_linear import CpuLinear, kernels_enabled
from dsformer.nn.linear import DenseSparseLinear
from dsformer.ops.cpu import CpuPlan
from fixtures.forms import all_specs, gradients, label, random_form
from fixtures.native import native_library  # noqa: F401

pytestmark = pytest.mark.usefixtures("native_library")
SPEC = FormSpec("input", 16, 12, atoms=8, core=2, nonzeros=5, canonical=True)


def layer_of(spec: FormSpec, dtype: torch.dtype = torch.float32, bias: bool = True) -> DenseSparseLinear:
    layer = DenseSparseLinear(spec, bias, dtype=dtype)
    layer.fill(random_form(spec))
    if layer.bias is not None:
        nn.init.normal_(layer.bias)
    return layer.eval()


class Block(nn.Module):
    """Three layers with one dictionary, the second without a bias."""

    def __init__(self):
        super().__init__()
        lead = None
        for i, part in enumerate(random_form(FormSpec("input", 40, 12, atoms=8, nonzeros=5)).split([16, 16, 8])):
            layer = DenseSparseLinear(part.spec, i != 1, lead)
            layer.fill(part)
            if layer.bias is not None:
                nn.init.normal_(layer.bias)
            setattr(self, "qkv"[i], layer)
            lead = lead or layer
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.q(x), self.k(x), self.v(x)], -1)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one whenever a plan is run."""
    calls: list[int] = []
    run = CpuPlan.__call__
    monkeypatch.setattr(CpuPlan, "__call__", lambda self, *args: calls.append(1) or run(self, *args))
    return calls


def dense(layer: DenseSparseLinear, x: torch.Tensor) -> torch.Tensor:
    return nn.functional.linear(x, layer.form().dense(), layer.bias)


@pytest.mark.parametrize("spec", all_specs(), ids=label)
def test_every_form(spec, runs):
    layer, x = layer_of(spec), torch.randn(3, 5, spec.in_features)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), dense(layer, x), rtol=1e-4, atol=1e-4)
    assert runs


def test_a_block_is_run_once(runs):
    block, x = Block(), torch.randn(2, 7, 12)
    expected = torch.cat([dense(layer, x) for layer in (block.q, block.k, block.v)], -1)
    for mode in (torch.no_grad, torch.inference_mode):
        runs.clear()
        with mode():
            torch.testing.assert_close(block(x), expected, rtol=1e-4, atol=1e-4)
        assert len(runs) == 1


def test_changed_weights_are_seen():
    block, x = Block(), torch.randn(4, 12)
    with torch.no_grad():
        block(x)
        block.k.weight.zero_()
        block.q.bias.add_(1)
        q = dense(block.q, x)
        assert block.k(x).abs().max() == 0
        torch.testing.assert_close(block.q(x), q, rtol=1e-4, atol=1e-4)
        block.q.dictionary.zero_()
        assert block.v(x).sub(block.v.bias).abs().max() == 0


def test_bfloat16(runs):
    layer, x = layer_of(SPEC, torch.bfloat16), torch.randn(4, 12, dtype=torch.bfloat16)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), dense(layer, x), rtol=3e-2, atol=1e-1)
    assert runs


@pytest.mark.parametrize(
    "case", ["gradient of the input", "gradient of the weights", "autocast", "training", "float64"]
)
def test_where_it_does_not_apply(case, runs):
    layer, x = layer_of(SPEC), torch.randn(4, 12)
    if case == "gradient of the input":
        layer.requires_grad_(False)
        x.requires_grad_()
        layer(x).sum().backward()
        torch.testing.assert_close(x.grad, layer.form().dense().sum(0).expand(4, -1))
    elif case == "gradient of the weights":
        layer(x).sum().backward()
        torch.testing.assert_close(layer.weight.grad, gradients(layer.form(), x)[0].flatten(), rtol=1e-4, atol=1e-4)
    else:
        layer.train(case == "training")
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=case == "autocast"):
            (layer.double() if case == "float64" else layer)(x.double() if case == "float64" else x)
    assert not runs


@pytest.mark.usefixtures("unchecked")
def test_traced_graphs_do_not_take_results_for_constants():
    layer = layer_of(SPEC)
    with torch.no_grad():
        traced = torch.jit.trace(layer, torch.randn(4, 12), check_trace=False)
        x = torch.randn(4, 12)
        torch.testing.assert_close(traced(x), layer(x), rtol=1e-4, atol=1e-4)


@pytest.fixture
def fresh_compiler():
    yield
    torch._dynamo.reset()


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.usefixtures("unchecked")
def test_compiled_graphs_run_the_block_once(runs):
    block, x = Block(), torch.randn(2, 7, 12)
    expected = torch.cat([dense(layer, x) for layer in (block.q, block.k, block.v)], -1)
    compiled = torch.compile(block, fullgraph=True)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            torch.testing.assert_close(compiled(x), expected, rtol=1e-4, atol=1e-4)
            runs.clear()
            torch.testing.assert_close(compiled(x), expected, rtol=1e-4, atol=1e-4)
            assert len(runs) == 1
    with torch.no_grad():
        block.q.weight.zero_()
        expected[..., :16] = block.q.bias
        torch.testing.assert_close(compiled(x), expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(compiled(torch.randn(3, 12)).shape, torch.Size([3, 40]))


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.usefixtures("unchecked")
def test_compiled_graphs_with_gradients_use_the_operators(runs):
    layer, x = layer_of(SPEC), torch.randn(4, 12)
    y = torch.compile(layer, fullgraph=True, backend="aot_eager")(x)
    torch.testing.assert_close(y, dense(layer, x), rtol=1e-4, atol=1e-4)
    y.sum().backward()
    torch.testing.assert_close(layer.weight.grad, gradients(layer.form(), x)[0].flatten(), rtol=1e-4, atol=1e-4)
    assert not runs


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.usefixtures("unchecked")
def test_copies_in_compiled_graphs_are_themselves():
    layer, x = layer_of(SPEC), torch.randn(4, 12)
    twin = copy.deepcopy(layer)
    with torch.no_grad():
        twin.weight.zero_()
        both = torch.compile(lambda x: (layer(x), twin(x)), backend="aot_eager")(x)
        torch.testing.assert_close(both[0], dense(layer, x), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(both[1], dense(twin, x), rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.usefixtures("unchecked")
def test_exported_graphs_can_leave_the_process(runs):
    layer, x = layer_of(SPEC), torch.randn(4, 12)
    with torch.no_grad():
        exported = torch.export.export(layer, (torch.randn(4, 12),))
        torch.testing.assert_close(exported.module()(x), dense(layer, x), rtol=1e-4, atol=1e-4)
    assert "packed_linear" not in str(exported)
    assert not runs


def test_parametrized_weights(runs):
    layer, x = layer_of(SPEC), torch.randn(4, 12)
    torch.nn.utils.parametrize.register_parametrization(layer, "weight", nn.Identity())
    with torch.no_grad():
        torch.testing.assert_close(layer.eval()(x), dense(layer, x), rtol=1e-4, atol=1e-4)


def test_can_be_turned_off(monkeypatch, runs):
    monkeypatch.setenv("DSFORMER_KERNELS", "reference")
    assert not kernels_enabled()
    layer, x = layer_of(SPEC), torch.randn(4, 12)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), dense(layer, x), rtol=1e-4, atol=1e-4)
    assert not runs


def test_frozen_layers_run_natively_while_gradients_are_on(runs):
    layer = layer_of(SPEC).requires_grad_(False)
    layer(torch.randn(4, 12))
    assert runs


def test_copies_and_pickles():
    block, x = Block(), torch.randn(4, 12)
    with torch.no_grad():
        expected = block(x)
        for other in (copy.deepcopy(block), pickle.loads(pickle.dumps(block))):
            torch.testing.assert_close(other(x), expected)
            other.q.weight.zero_()
            other.q.bias.zero_()
            assert other.q(x).abs().max() == 0
            torch.testing.assert_close(block(x), expected)
        torch.testing.assert_close(copy.deepcopy(block.k)(x), block.k(x))


def test_threads_share_a_block():
    block, inputs = Block(), [torch.randn(6, 12) for _ in range(8)]
    with torch.no_grad():
        expected = [block(x) for x in inputs]

    def work(i: int) -> int:
        with torch.no_grad():
            for _ in range(20):
                torch.testing.assert_close(block(inputs[i]), expected[i], rtol=1e-5, atol=1e-5)
        return i

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == list(range(8))


def test_layers_keep_their_place():
    block = CpuLinear()
    assert [block.add(layer_of(SPEC)) for _ in range(3)] == [0, 1, 2]
