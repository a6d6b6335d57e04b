"""Activations computed by the layer before them: only where nothing else sees that layer's output."""

import copy

import pytest
import torch
from torch import nn
from transformers.activations import ACT2FN

from dsformer.factorization.form import FormSpec
from dsformer.layers import BlockConfig, DenseSparseLinear, densify, install_forms
from dsformer.layers.activation import Activated, activation_of
from fixtures.forms import random_form
from fixtures.native import native_library  # noqa: F401

SPEC = FormSpec("input", 16, 12, atoms=8, nonzeros=5)
X = torch.linspace(-2, 2, 36).view(3, 12)


class Feed(nn.Module):
    def __init__(self, activation: nn.Module):
        super().__init__()
        self.up, self.act = nn.Linear(12, 16), activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.up(x))


def feed(activation: nn.Module | None = None) -> Feed:
    torch.manual_seed(0)
    model = Feed(activation or nn.GELU()).eval()
    install_forms(model, [BlockConfig.of("linear", [("up", 16)], SPEC, activation="act")], [random_form(SPEC)])
    return model


def expected(model: Feed) -> torch.Tensor:
    return activation(model)(nn.functional.linear(X, model.up.form().dense(), model.up.bias))


def activation(model: Feed) -> nn.Module:
    return model.act.plain if isinstance(model.act, Activated) else model.act


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each call of an activation found its work done."""
    calls: list[bool] = []
    forward = Activated.forward
    monkeypatch.setattr(
        Activated, "forward", lambda self, x: calls.append("activated" in x.__dict__) or forward(self, x)
    )
    return calls


@pytest.mark.parametrize(
    ("module", "kind"),
    [
        (nn.ReLU(), "relu"),
        (nn.GELU(), "gelu"),
        (nn.GELU("tanh"), "gelu_tanh"),
        (ACT2FN["gelu"], "gelu"),
        (ACT2FN["gelu_new"], "gelu_tanh"),
        (ACT2FN["gelu_fast"], "gelu_tanh"),
        (ACT2FN["gelu_pytorch_tanh"], "gelu_tanh"),
        (ACT2FN["quick_gelu"], "none"),
        (nn.SiLU(), "none"),
        (nn.Identity(), "none"),
    ],
)
def test_kinds(module: nn.Module, kind: str):
    assert activation_of(module) == activation_of(Activated(module)) == kind
    x = torch.linspace(-6, 6, 100)
    said = {"relu": torch.relu, "gelu": nn.functional.gelu, "gelu_tanh": nn.GELU("tanh")}.get(kind, module)
    torch.testing.assert_close(module(x), said(x), rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("native_library")
@pytest.mark.parametrize("plain", [nn.ReLU(), nn.GELU(), nn.GELU("tanh")], ids=repr)
def test_the_layer_computes_it(plain: nn.Module, passed: list[bool]):
    model = feed(plain)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            torch.testing.assert_close(model(X), expected(model), rtol=1e-5, atol=1e-5)
    assert passed == [True, True]


@pytest.mark.usefixtures("native_library")
def test_the_activation_does_where_the_layer_does_not(passed: list[bool]):
    model = feed()
    torch.testing.assert_close(model(X.clone().requires_grad_()), expected(model), rtol=1e-5, atol=1e-5)
    model.train()
    torch.testing.assert_close(model(X), expected(model), rtol=1e-5, atol=1e-5)
    assert passed == [False, False]


def test_without_native_kernels(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DSFORMER_KERNELS", "reference")
    model = feed()
    with torch.no_grad():
        torch.testing.assert_close(model(X), expected(model), rtol=1e-5, atol=1e-5)


class Adapter(nn.Module):
    """Takes a layer's place and adds to what it says."""

    def __init__(self, base: nn.Module):
        super().__init__()
        self.base = base

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(x) + 1


@pytest.mark.usefixtures("native_library")
def test_who_listens_to_a_layer_hears_it_unactivated(passed: list[bool]):
    model, heard = feed(), []
    with torch.no_grad():
        model(X)
        handle = model.up.register_forward_hook(lambda layer, args, y: heard.append(y))
        torch.testing.assert_close(model(X), expected(model), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(activation(model)(heard[0]), expected(model), rtol=1e-5, atol=1e-5)
        handle.remove()
        model(X)
        base = nn.functional.linear(X, model.up.form().dense(), model.up.bias)
        model.up = Adapter(model.up)
        torch.testing.assert_close(model(X), nn.functional.gelu(base + 1), rtol=1e-5, atol=1e-5)
    assert passed == [True, False, True, False]


@pytest.mark.usefixtures("native_library")
def test_copies_have_places_of_their_own(passed: list[bool]):
    twin = copy.deepcopy(feed())
    with torch.no_grad():
        torch.testing.assert_close(twin(X), expected(twin), rtol=1e-5, atol=1e-5)
    assert passed == [True]


def test_unknown_activations_stay():
    model = feed(nn.SiLU())
    assert type(model.act) is nn.SiLU


def test_dense_models_have_their_activation_back():
    model = feed()
    assert isinstance(model.up, DenseSparseLinear)
    assert isinstance(model.act, Activated)
    assert not model.act.training
    densify(model)
    assert type(model.act) is nn.GELU


def test_installed_again_it_is_wrapped_once():
    model = feed()
    model.up = nn.Linear(12, 16)
    install_forms(model, [BlockConfig.of("linear", [("up", 16)], SPEC, activation="act")], [random_form(SPEC)])
    assert type(model.act.plain) is nn.GELU
