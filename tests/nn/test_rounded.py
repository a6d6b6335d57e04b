"""Layers whose factors are stored as integers."""

import copy
import pickle

import pytest
import torch
from torch import nn

from dsformer.errors import InputError
from dsformer.format.pattern import Pattern
from dsformer.format.precision import FACTORS, INT8, Precision
from dsformer.format.quantized import quantize_form
from dsformer.format.schema import BlockConfig
from dsformer.format.spec import FormSpec
from dsformer.nn.embedding import DenseSparseEmbedding
from dsformer.nn.linear import DenseSparseLinear
from dsformer.nn.replace import install_forms, quantize_factors
from dsformer.ops.cpu import CpuPlan
from dsformer.ops.reference import round_tokens
from fixtures.forms import all_specs, label, random_form
from fixtures.native import native_library  # noqa: F401

SPECS = all_specs()
SPANNED = Precision(3, 5, span=4)
PRECISIONS = [*FACTORS.values(), SPANNED]
X = torch.randn(3, 5, 12, generator=torch.Generator().manual_seed(7))


def layer_of(spec: FormSpec, dtype: torch.dtype = torch.float32, precision: Precision = INT8) -> DenseSparseLinear:
    layer = DenseSparseLinear(spec, dtype=dtype, precision=precision).eval()
    layer.fill(quantize_form(random_form(spec), precision))
    nn.init.normal_(layer.bias, generator=torch.Generator().manual_seed(1))
    return layer


def near(a: torch.Tensor, b: torch.Tensor, far: float = 0.02) -> bool:
    return bool((a - b).norm() <= far * b.norm())


@pytest.mark.parametrize("precision", PRECISIONS, ids=str)
@pytest.mark.parametrize("spec", SPECS, ids=label)
def test_by_the_operators_and_by_the_kernels(spec, precision, native_library, monkeypatch):  # noqa: F811
    layer = layer_of(spec, precision=precision)
    exact = nn.functional.linear(X, layer.form().dense(), layer.bias)
    with torch.no_grad():
        native, operators = layer(X), layer.operate(X)
        layer.eval()
        monkeypatch.setenv("DSFORMER_KERNELS", "reference")
        layer._packed.clear()
        kept = layer(X)
    assert near(operators, exact)
    assert near(native, operators, 0.01)
    assert torch.equal(kept, operators) if layer.is_int8 else near(kept, operators, 1e-5)


@pytest.mark.parametrize("precision", PRECISIONS, ids=str)
@pytest.mark.parametrize("spec", SPECS, ids=label)
def test_stores_what_the_spec_counts(spec: FormSpec, precision: Precision):
    layer = layer_of(spec, precision=precision)
    stored = {key: tensor for key, tensor in layer.state_dict().items() if key != "bias"}
    assert {tensor.dtype for tensor in stored.values()} <= {torch.int8, torch.int16, torch.uint8}
    assert 8 * sum(tensor.nbytes for tensor in stored.values()) == spec.stored_bits(precision)
    again = DenseSparseLinear(spec, precision=precision).eval()
    again.load_state_dict(layer.state_dict())
    assert torch.equal(again.form().dense(), layer.form().dense())
    assert torch.equal(layer.form().dense(), quantize_form(random_form(spec), precision).form().dense())


@pytest.mark.parametrize("spec", SPECS[::5], ids=label)
def test_the_type_of_inputs_changes_nothing_that_is_stored(spec: FormSpec):
    layer = layer_of(spec)
    before = {key: tensor.clone() for key, tensor in layer.state_dict().items() if key != "bias"}
    with torch.no_grad():
        expected = layer(X)
        low = layer.to(torch.bfloat16)(X.bfloat16())
    assert low.dtype == layer.dtype == torch.bfloat16
    assert near(low.float(), expected)
    assert all(torch.equal(layer.state_dict()[key], tensor) for key, tensor in before.items())
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        with torch.no_grad():
            assert torch.equal(twin(X.bfloat16()), low)


def test_gradients_pass_the_rounding():
    layer = layer_of(FormSpec("input", 16, 12, atoms=8, nonzeros=5, canonical=True))
    x = X.clone().requires_grad_()
    layer(x).square().sum().backward()
    with torch.no_grad():
        slopes = 2 * layer.operate(X)
        torch.testing.assert_close(x.grad, slopes @ layer.form().dense())
    torch.testing.assert_close(layer.bias.grad, slopes.flatten(0, -2).sum(0))


def test_bytes_are_not_taken_for_parameters():
    layer = layer_of(FormSpec("input", 16, 12, atoms=8, nonzeros=5)).requires_grad_(True)
    assert [name for name, _ in layer.named_parameters()] == ["bias"]


def test_autocast():
    layer = layer_of(FormSpec("output", 16, 12, atoms=8, nonzeros=5))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        low = layer(X)
    assert low.dtype == torch.bfloat16
    with torch.no_grad():
        assert near(low.float(), layer(X))


@pytest.mark.parametrize("precision", PRECISIONS, ids=str)
@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.usefixtures("unchecked")
def test_compiles_whole(gradients: bool, precision: Precision, native_library):  # noqa: F811
    spec = FormSpec("input", 16, 12, atoms=8, nonzeros=5, pattern=Pattern(group=4), permuted=True)
    layer = layer_of(spec, precision=precision)
    torch._dynamo.reset()
    with torch.set_grad_enabled(gradients):
        assert near(torch.compile(layer, fullgraph=True)(X), layer(X), 0.01)


def test_members_of_a_block_are_rounded_together(native_library, monkeypatch):  # noqa: F811
    members = [("q", 16), ("k", 16), ("v", 8)]
    spec = FormSpec("input", 40, 12, atoms=8, nonzeros=5, canonical=True)
    model = nn.ModuleDict({name: nn.Linear(12, size, name != "k") for name, size in members}).eval()
    blocks = [BlockConfig.of("linear", members, spec)]
    form = random_form(spec)
    install_forms(model, blocks, [form])
    rounded = quantize_factors(model, blocks)
    assert [block.precision for block in rounded] == [INT8]
    weights = torch.cat([model[name].form().dense() for name, _ in members])
    assert torch.equal(weights, quantize_form(form).form().dense())
    assert model["k"].dictionary is None
    assert model["k"].bias is None

    calls: list[int] = []
    run = CpuPlan.__call__
    monkeypatch.setattr(CpuPlan, "__call__", lambda self, *args: calls.append(1) or run(self, *args))
    with torch.no_grad():
        y = torch.cat([model[name](X) for name, _ in members], -1)
    assert len(calls) == 1
    biases = torch.cat([torch.zeros(16) if model[n].bias is None else model[n].bias for n, _ in members])
    assert near(y, X @ weights.T + biases)


@pytest.mark.parametrize("precision", PRECISIONS, ids=str)
def test_an_embedding(precision: Precision):
    spec = FormSpec("input", 20, 16, atoms=8, nonzeros=4, canonical=True)
    table = DenseSparseEmbedding(spec, 1, dtype=torch.bfloat16, precision=precision)
    table.fill(quantize_form(random_form(spec), precision))
    ids = torch.tensor([[1, 5, 19], [2, 2, 0]])
    assert table(ids).dtype == torch.bfloat16
    torch.testing.assert_close(table(ids), table.form().dense()[ids], rtol=0.02, atol=0.02)


def test_only_rounded_forms_fit():
    spec = FormSpec("input", 16, 12, atoms=8, nonzeros=5)
    with pytest.raises(InputError, match="numbers of None does not fit a layer of int8"):
        DenseSparseLinear(spec, precision=INT8).fill(random_form(spec))
    with pytest.raises(InputError, match="numbers of int8 does not fit a layer of None"):
        DenseSparseLinear(spec).fill(quantize_form(random_form(spec)))
    with pytest.raises(InputError, match="numbers of int4 does not fit a layer of int8"):
        DenseSparseLinear(spec, precision=INT8).fill(quantize_form(random_form(spec), Precision(4, 4)))


def test_tokens_are_rounded_one_by_one():
    x = torch.tensor([[0.0, 255.0, 3.4], [-1.0, -0.5, 0.0], [0.0, 0.0, 0.0], [1.0, 2.0, 255.5 / 2]])
    y = round_tokens(x)
    assert y[0].tolist() == [0.0, 255.0, 3.0]
    torch.testing.assert_close(y[1], torch.tensor([-1.0, -127 / 255, 0.0]))
    assert not y[2].any()
    assert torch.equal(round_tokens(x[1:2]), y[1:2])


@pytest.mark.parametrize("precision", [INT8, Precision(4, 4, span=4)], ids=str)
@pytest.mark.usefixtures("unchecked")
def test_a_whole_weight_is_multiplied_as_a_dense_one(precision: Precision, native_library):  # noqa: F811
    layer = layer_of(FormSpec("input", 16, 12, atoms=0, nonzeros=12, canonical=True), precision=precision)
    assert layer.dense
    assert not layer.is_int8
    with torch.no_grad():
        expected = nn.functional.linear(X, layer.form().dense(), layer.bias)
        torch.testing.assert_close(layer(X), expected)
        torch._dynamo.reset()
        torch.testing.assert_close(torch.compile(layer, fullgraph=True)(X), expected)
