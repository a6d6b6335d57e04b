import copy
import pickle

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers.pytorch_utils import Conv1D

from dsformer.errors import ArtefactError, InputError
from dsformer.format.form import Form
from dsformer.format.pattern import Pattern
from dsformer.format.precision import Precision
from dsformer.format.spec import FormSpec
from dsformer.nn.linear import DenseSparseLinear
from dsformer.nn.strategy import choose_strategy, strategy_costs
from dsformer.ops import reference
from fixtures.forms import all_specs, gradients, label, random_form

SPECS = all_specs()


def layer_of(spec: FormSpec, dtype=torch.float64, seed: int = 0) -> tuple[DenseSparseLinear, Form]:
    form = random_form(spec, seed, dtype=torch.float64)
    layer = DenseSparseLinear(spec, dtype=dtype).eval()
    layer.fill(form)
    nn.init.normal_(layer.bias, generator=torch.Generator().manual_seed(seed))
    return layer, form


def example(*shape: int, dtype=torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64).to(dtype)


class Operators(TorchDispatchMode):
    """Takes down the operators of DSFormer that run, which keep nothing: the fast ways do without."""

    def __init__(self):
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.namespace == "dsformer":
            self.names.append(function.name())
        return function(*args, **(kwargs or {}))


@pytest.fixture
def _gathering(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes gathering pay even for the tiny layers of tests."""
    for name in ("BATCHED", "GATHER", "SCATTER", "MOVE"):
        monkeypatch.setattr(reference, name, 0)


@pytest.mark.usefixtures("_gathering")
@pytest.mark.parametrize("spec", [spec for spec in SPECS if spec.pattern.group > 1], ids=label)
def test_gathered(spec: FormSpec):
    assert choose_strategy(spec) == "gathered"
    test_is_the_layer_its_form_stands_for(spec, (200,))


@pytest.mark.parametrize("spec", SPECS, ids=label)
@pytest.mark.parametrize("shape", [(3, 5), (0,), (1,), (200,), ()], ids=str)
def test_is_the_layer_its_form_stands_for(spec: FormSpec, shape: tuple[int, ...]):
    layer, form = layer_of(spec)
    x = example(*shape, spec.in_features)
    expected = nn.functional.linear(x, form.dense(), layer.bias)
    torch.testing.assert_close(layer(x), expected)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), expected)
    with torch.inference_mode():
        torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("spec", SPECS, ids=label)
def test_stores_what_the_spec_counts(spec: FormSpec):
    layer, form = layer_of(spec)
    stored = layer.state_dict()
    values = stored["weight"].numel() + (stored["dictionary"].numel() if spec.atoms else 0)
    others = [stored[key] for key in ("support", "permutation") if key in stored]
    assert stored["weight"].dim() == 1
    assert values == spec.value_count
    assert sum(t.numel() * t.element_size() for t in others) == spec.support_bytes + spec.permutation_bytes
    assert ("support" in stored) == (spec.encoding != "none")
    back = layer.form()
    assert back.spec == spec
    for name in ("dictionary", "values", "indices"):
        assert torch.equal(getattr(back, name), getattr(form, name)), name


@pytest.mark.parametrize("spec", SPECS, ids=label)
def test_copies_and_pickles(spec: FormSpec):
    layer, _ = layer_of(spec)
    x = example(4, spec.in_features)
    with torch.no_grad():
        expected = layer(x)
        for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
            assert torch.equal(other(x), expected)
            other.weight.zero_()
            assert not torch.equal(other(x), expected)
        assert torch.equal(layer(x), expected)


@pytest.mark.parametrize("spec", SPECS[::5], ids=label)
@pytest.mark.usefixtures("unchecked")
def test_compiles_whole(spec: FormSpec):
    layer, _ = layer_of(spec)
    x = example(4, spec.in_features).requires_grad_()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), layer(x))
    (gradient,) = torch.autograd.grad(compiled(x).sin().sum(), x)
    (expected,) = torch.autograd.grad(layer(x).sin().sum(), x)
    torch.testing.assert_close(gradient, expected)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), layer(x))
    torch._dynamo.reset()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("spec", SPECS[::4], ids=label)
def test_low_precision(spec: FormSpec, dtype: torch.dtype):
    layer, form = layer_of(spec, dtype)
    x = example(4, spec.in_features, dtype=dtype)
    expected = nn.functional.linear(x.double(), form.dense(), layer.bias.double())
    tolerance = {"rtol": 0.05, "atol": 0.1} if dtype.itemsize == 2 else {"rtol": 1e-4, "atol": 1e-5}
    with torch.no_grad():
        fast = layer(x)
    for y in (fast, layer(x)):
        assert y.dtype == dtype
        torch.testing.assert_close(y.double(), expected, **tolerance)


@pytest.mark.parametrize("spec", SPECS[::4], ids=label)
def test_autocast(spec: FormSpec):
    layer, form = layer_of(spec, torch.float32)
    x = example(4, spec.in_features, dtype=torch.float32)
    expected = nn.functional.linear(x.double(), form.dense(), layer.bias.double())
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
        with torch.no_grad():
            fast = layer(x)
    y.float().sum().backward()
    assert layer.weight.grad.dtype == torch.float32
    for result in (y, fast):
        assert result.dtype == torch.bfloat16
        torch.testing.assert_close(result.double(), expected, rtol=0.05, atol=0.1)
    # What was derived under autocast must not have its precision.
    with torch.no_grad():
        torch.testing.assert_close(layer(x).double(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("spec", SPECS[::4], ids=label)
def test_changes_are_seen(spec: FormSpec):
    """By an optimiser, by moving to another type, by loading another state."""
    layer, _ = layer_of(spec)
    x = example(4, spec.in_features)
    with torch.no_grad():
        before = layer(x)
        layer.weight.mul_(2)
        torch.testing.assert_close(layer(x) - layer.bias, 2 * (before - layer.bias))
        if layer.dictionary is not None:
            layer.dictionary.mul_(3)
            torch.testing.assert_close(layer(x), nn.functional.linear(x, layer.form().dense(), layer.bias))
        other, form = layer_of(spec, seed=1)
        layer.load_state_dict(other.state_dict())
        torch.testing.assert_close(layer(x), nn.functional.linear(x, form.dense(), other.bias))
        layer.to(torch.float32)
        assert layer(x.float()).dtype == torch.float32


@pytest.mark.parametrize("switching", [False, True], ids=["always in evaluation mode", "switching modes"])
@pytest.mark.parametrize("options", [{"fused": True}, {"foreach": True}, {"foreach": False}], ids=str)
def test_an_optimiser_trains_it(options: dict, switching: bool):
    """Fused optimisers do not count versions: what was kept must go all the same."""
    spec = FormSpec("input", 16, 12, atoms=8, core=2, nonzeros=3, pattern=Pattern(4), permuted=True)
    layer, _ = layer_of(spec, torch.float32)
    x, target = example(64, 12, dtype=torch.float32), example(64, 16, dtype=torch.float32)
    optimiser = torch.optim.Adam(layer.parameters(), 0.05, **options)

    def evaluate() -> float:
        with torch.no_grad():
            torch.testing.assert_close(layer(x), nn.functional.linear(x, layer.form().dense(), layer.bias))
            return (layer(x) - target).square().mean().item()

    first = evaluate()
    for _ in range(20):
        if switching:
            layer.train()
        optimiser.zero_grad()
        (layer(x) - target).square().mean().backward()
        optimiser.step()
        if switching:
            layer.eval()
        last = evaluate()
    assert last < 0.9 * first


def test_frozen_weights_run_fast_under_gradients():
    layer, form = layer_of(SPECS[0])
    layer.requires_grad_(False)
    x = example(4, 12).requires_grad_()
    with Operators() as operators:
        y = layer(x)
    assert not operators.names
    (gradient,) = torch.autograd.grad(y.sin().sum(), x)
    expected = nn.functional.linear(x, form.dense(), layer.bias)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected.sin().sum(), x)[0])


def test_a_forward_pass_alone_unsettles_nothing():
    layer, _ = layer_of(SPECS[0])
    x = example(4, 12)

    def by_operators() -> bool:
        with torch.no_grad(), Operators() as operators:
            layer(x)
        return bool(operators.names)

    layer(x)
    assert not by_operators()
    layer(x).sum().backward()
    assert by_operators()
    assert by_operators()
    layer.eval()
    assert not by_operators()


def test_what_inference_mode_leaves_behind_serves_training():
    layer, form = layer_of(SPECS[4])
    x = example(4, 12)
    with torch.inference_mode():
        layer(x)
    layer(x).sum().backward()
    values, dictionary = gradients(form, x)
    torch.testing.assert_close(layer.weight.grad, values.flatten())
    torch.testing.assert_close(layer.dictionary.grad, dictionary)


def test_parameters_made_in_inference_mode_are_never_stale():
    with torch.inference_mode():
        layer, _ = layer_of(SPECS[4])
        x = example(4, 12)
        before = layer(x)
        layer.weight.mul_(2)
        torch.testing.assert_close(layer(x) - layer.bias, 2 * (before - layer.bias))


@pytest.mark.parametrize("conv1d", [False, True])
def test_densified(conv1d: bool):
    spec = SPECS[8]
    layer = DenseSparseLinear(spec, conv1d=conv1d, dtype=torch.float64)
    layer.fill(random_form(spec, dtype=torch.float64))
    nn.init.normal_(layer.bias)
    dense = layer.densified()
    assert type(dense) is (Conv1D if conv1d else nn.Linear)
    x = example(2, 3, 12)
    torch.testing.assert_close(dense(x), layer(x))
    if conv1d:
        assert (layer.nf, layer.nx) == (dense.nf, dense.nx)


def test_a_form_of_another_spec_is_refused():
    layer = DenseSparseLinear(SPECS[0])
    with pytest.raises(InputError, match="does not fit"):
        layer.fill(random_form(SPECS[2]))


def test_a_form_without_atoms_is_refused():
    with pytest.raises(InputError, match="without atoms"):
        DenseSparseLinear(FormSpec("input", 4, 4, atoms=0))


def test_a_damaged_support_is_refused():
    layer, _ = layer_of(SPECS[2])
    layer.support.zero_()
    with pytest.raises(ArtefactError, match="3 non-zeros"):
        layer.validate()
    with pytest.raises(ArtefactError, match="3 non-zeros"), torch.no_grad():
        layer(example(1, 12))


def test_a_damaged_permutation_is_refused():
    layer, _ = layer_of(SPECS[3])
    layer.permutation.zero_()
    with pytest.raises(ArtefactError, match="permutation"):
        layer.validate()


def test_the_cheapest_way():
    low_rank = FormSpec("input", 64, 64, atoms=8, core=8)
    assert choose_strategy(low_rank) == "factored"
    assert strategy_costs(low_rank) == {"dense": 64 * 64, "factored": 2 * 8 * 64}
    assert choose_strategy(FormSpec("input", 64, 64, atoms=60, core=60)) == "dense"
    assert choose_strategy(FormSpec("input", 64, 64, atoms=40, core=40), sharing=3) == "factored"
    assert choose_strategy(FormSpec("input", 64, 64, atoms=0, nonzeros=8, canonical=True)) == "dense"
    few = FormSpec("input", 1024, 512, atoms=256, nonzeros=8, pattern=Pattern(32))
    assert choose_strategy(few) == "gathered"


def test_repr_says_what_it_is():
    spec = FormSpec("output", 16, 12, atoms=8, core=2, nonzeros=4, canonical=True, permuted=True)
    assert repr(DenseSparseLinear(spec, bias=False)) == (
        "DenseSparseLinear(in_features=12, out_features=16, bias=False, "
        "output dictionary, atoms=8, core=2, nonzeros=4, pattern=free, canonical, permuted)"
    )
    spec = FormSpec("input", 16, 12, atoms=9, nonzeros=3, pattern=Pattern(4))
    assert repr(DenseSparseLinear(spec, precision=Precision(4, 8))) == (
        "DenseSparseLinear(in_features=12, out_features=16, bias=True, "
        "input dictionary, atoms=9, core=0, nonzeros=3, pattern=grouped(4), int4 codes, int8 dictionary)"
    )


def test_repeated_eval_keeps_the_plan(monkeypatch):
    monkeypatch.setenv("DSFORMER_KERNELS", "reference")
    layer = layer_of(FormSpec("input", 12, 8, atoms=4, nonzeros=2, canonical=True), torch.float32)[0].eval()
    made = []
    original = type(layer)._make_plan
    monkeypatch.setattr(type(layer), "_make_plan", lambda self: made.append(1) or original(self))
    for _ in range(3):
        with torch.no_grad():
            layer.eval()(torch.randn(3, 8))
    assert len(made) == 1
    layer.train()
    with torch.no_grad():
        layer.eval()(torch.randn(3, 8))
    assert len(made) == 2
