import copy
import gc
import pickle
import threading
import weakref

import pytest
import torch
from torch import nn
from torch.nn.functional import linear
from torch.utils.checkpoint import checkpoint

from dsformer.format.pattern import Pattern
from dsformer.format.spec import FormSpec
from dsformer.nn.linear import DenseSparseLinear
from dsformer.nn.shared_input import SharedProduct
from fixtures.forms import gradients, random_form

SPEC = FormSpec("input", 48, 16, atoms=6, nonzeros=3, pattern=Pattern(4))


class Block(nn.Module):
    """Three layers with one dictionary."""

    def __init__(self):
        super().__init__()
        parts = random_form(SPEC, dtype=torch.float64).split([16, 16, 16])
        lead = None
        for name, part in zip("qkv", parts, strict=True):
            layer = DenseSparseLinear(part.spec, False, lead, dtype=torch.float64)
            layer.fill(part)
            setattr(self, name, layer)
            lead = lead or layer
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.q(x), self.k(x), self.v(x)], -1)

    @property
    def remembered(self):
        return self.q._own_product._entry


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one whenever a product with a dictionary is computed."""
    calls: list[int] = []

    def counting(*args):
        calls.append(1)
        return linear(*args)

    monkeypatch.setattr("dsformer.nn.shared_input.linear", counting)
    return calls


def example(seed: int = 0) -> torch.Tensor:
    return torch.randn(5, 16, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


WEIGHT = random_form(SPEC, dtype=torch.float64).dense()
MODES = [torch.enable_grad, torch.no_grad, torch.inference_mode]


@pytest.mark.parametrize("mode", MODES)
def test_the_product_is_computed_once_and_dropped(counted: list[int], mode):
    block = Block()
    with mode():
        torch.testing.assert_close(block(example()), linear(example(), WEIGHT))
    assert len(counted) == 1
    assert block.remembered is None


def test_the_dictionary_is_stored_once():
    block = Block()
    assert [key for key in block.state_dict() if "dictionary" in key] == ["q.dictionary"]
    assert sum(parameter.numel() for parameter in block.parameters()) == SPEC.value_count


@pytest.mark.parametrize("mode", MODES)
def test_a_changed_input_is_another_one(mode):
    block = Block()
    with mode():
        x = example()
        block.q(x)
        x.add_(1)
        torch.testing.assert_close(block.k(x), linear(x, WEIGHT[16:32]))


def test_an_input_at_the_same_address_is_another_one():
    block = Block()
    with torch.no_grad():
        for seed in range(20):
            x = example(seed)
            # Only the first layer runs: what it remembers must not serve the next input, wherever that lies.
            block.q(x)
            del x
            other = example(seed + 100)
            torch.testing.assert_close(block.k(other), linear(other, WEIGHT[16:32]))


def test_a_changed_dictionary_is_another_one():
    block = Block()
    x = example()
    with torch.no_grad():
        block.q(x)
        block.q.dictionary.mul_(2)
        torch.testing.assert_close(block.k(x), 2 * linear(x, WEIGHT[16:32]))


def test_a_product_without_gradient_does_not_serve_training():
    block = Block()
    x = example()
    with torch.no_grad():
        block.q(x)
    block.k(x).sum().backward()
    values, dictionary = gradients(block.k.form(), x)
    torch.testing.assert_close(block.k.weight.grad, values.flatten())
    torch.testing.assert_close(block.q.dictionary.grad, dictionary)


def test_nothing_is_kept_of_an_input_that_is_gone():
    block = Block()
    x = example()
    with torch.no_grad():
        block.q(x)
        assert block.remembered is not None
        product = weakref.ref(block.remembered[1])
        del x
        gc.collect()
    assert block.remembered is None
    assert product() is None


def test_a_layer_that_runs_again_starts_over(counted: list[int]):
    block = Block()
    x = example()
    with torch.no_grad():
        block.q(x)
        block.q(x)
    assert len(counted) == 2


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing(reentrant: bool):
    block = Block()
    x = example().requires_grad_()
    expected = torch.autograd.grad(block(x).sin().sum(), [x, *block.parameters()])
    block.zero_grad()
    y = checkpoint(block, x, use_reentrant=reentrant).sin().sum()
    y.backward()
    torch.testing.assert_close([x.grad, *(p.grad for p in block.parameters())], list(expected))


def test_gradients_reach_the_shared_dictionary():
    block = Block()
    x = example().requires_grad_()
    tensors = [x, *block.parameters()]
    assert torch.autograd.gradcheck(lambda x, *_: block(x), tensors)


def test_two_threads():
    block = Block()
    failures: list[BaseException] = []

    def run(seed: int) -> None:
        try:
            with torch.no_grad():
                for step in range(200):
                    x = example(1000 * seed + step)
                    torch.testing.assert_close(block(x), linear(x, WEIGHT))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_two_threads_with_the_same_input():
    block, x = Block(), example()
    expected = linear(x, WEIGHT)
    results: list[torch.Tensor] = []

    def run() -> None:
        with torch.no_grad():
            results.extend(block(x) for _ in range(100))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 200
    for result in results:
        torch.testing.assert_close(result, expected)


def test_copies_are_independent():
    block, x = Block(), example()
    for other in (copy.deepcopy(block), pickle.loads(pickle.dumps(block))):
        assert other.k._lead[0] is other.q
        with torch.no_grad():
            torch.testing.assert_close(other(x), block(x))
            other.q.dictionary.zero_()
            assert other(x).abs().max() == 0
            assert block(x).abs().max() > 0


def test_a_copied_follower_brings_its_dictionary():
    block, x = Block(), example()
    with torch.no_grad():
        torch.testing.assert_close(copy.deepcopy(block.k)(x), block.k(x))


def test_a_copy_forgets():
    shared = SharedProduct(3)
    x, dictionary = example(), torch.ones(2, 16, dtype=torch.float64)
    shared.get(x, dictionary, 0)
    other = copy.deepcopy(shared)
    assert (other.members, other._entry) == (3, None)


@pytest.mark.usefixtures("unchecked")
def test_compiled():
    block, x = Block(), example()
    compiled = torch.compile(block, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), block(x))
    assert block.remembered is None
    torch._dynamo.reset()


def test_moving_to_another_type():
    block = Block().to(torch.float32)
    with torch.no_grad():
        torch.testing.assert_close(block(example().float()).double(), linear(example(), WEIGHT), rtol=1e-4, atol=1e-5)
