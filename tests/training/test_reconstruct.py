import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dsformer.training.reconstruct import EntryPositions, ReconstructWeight


def drawn(units: int, atoms: int, width: int, canonical: bool, kept: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Positions and values of this many random codes of every unit."""
    generator = torch.Generator().manual_seed(seed)
    positions = atoms + (width if canonical else 0)
    columns = torch.stack([torch.randperm(positions, generator=generator)[:kept].sort().values for _ in range(units)])
    return columns, torch.randn(units, kept, generator=generator, dtype=torch.float64)


def plainly(values: Tensor, dictionary: Tensor, columns: Tensor, canonical: bool) -> Tensor:
    """codes @ [D; I] out of operations autograd knows."""
    atoms, width = dictionary.shape
    stacked = torch.cat([dictionary, torch.eye(width, dtype=dictionary.dtype)]) if canonical else dictionary
    codes = torch.zeros(len(values), atoms + width, dtype=values.dtype).scatter(1, columns, values)
    return codes[:, : len(stacked)] @ stacked


def assert_same(units: int, atoms: int, width: int, canonical: bool, kept: int, seed: int = 0) -> None:
    columns, values = drawn(units, atoms, width, canonical, kept, seed)
    generator = torch.Generator().manual_seed(seed + 1)
    dictionary = torch.randn(atoms, width, generator=generator, dtype=torch.float64)
    outer = torch.randn(units, width, generator=generator, dtype=torch.float64)
    values.requires_grad_()
    dictionary.requires_grad_()
    ours = ReconstructWeight.apply(values, dictionary, EntryPositions.of(columns, atoms, width), torch.float64)
    theirs = plainly(values, dictionary, columns, canonical)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    wanted = torch.autograd.grad((theirs * outer).sum(), (values, dictionary))
    found = torch.autograd.grad((ours * outer).sum(), (values, dictionary))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("atoms", "canonical"), [(6, False), (0, True), (6, True)], ids=["learned", "none", "mixed"])
def test_gradients_are_those_of_the_plain_product(atoms: int, canonical: bool):
    assert_same(units=7, atoms=atoms, width=5, canonical=canonical, kept=4)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_shape(data: st.DataObject):
    units, width = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9))
    canonical = data.draw(st.booleans())
    atoms = data.draw(st.integers(0 if canonical else 1, 9))
    kept = data.draw(st.integers(1, atoms + (width if canonical else 0)))
    assert_same(units, atoms, width, canonical, kept, data.draw(st.integers(0, 99)))


def test_gradcheck():
    columns, values = drawn(4, 3, 5, True, 4)
    dictionary = torch.randn(3, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    places = EntryPositions.of(columns, 3, 5)
    inputs = (values.requires_grad_(), dictionary.requires_grad_())
    assert torch.autograd.gradcheck(lambda v, d: ReconstructWeight.apply(v, d, places, torch.float64), inputs)


@pytest.mark.parametrize("frozen", ["values", "dictionary"])
def test_one_side_alone(frozen: str):
    columns, values = drawn(4, 3, 5, True, 4)
    sides = {"values": values, "dictionary": torch.ones(3, 5, dtype=torch.float64)}
    for name, side in sides.items():
        side.requires_grad_(name != frozen)
    ReconstructWeight.apply(*sides.values(), EntryPositions.of(columns, 3, 5), torch.float64).sum().backward()
    for name, side in sides.items():
        assert (side.grad is None) == (name == frozen)


def test_bf16_is_that_of_the_float32_product_and_gradients_stay_float32():
    columns, values = drawn(16, 8, 12, True, 5)
    values, dictionary = values.float().requires_grad_(), torch.randn(8, 12).requires_grad_()
    places = EntryPositions.of(columns, 8, 12)
    low = ReconstructWeight.apply(values, dictionary, places, torch.bfloat16)
    high = ReconstructWeight.apply(values, dictionary, places, torch.float32)
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low.float(), high, rtol=0.02, atol=0.05)
    outer = torch.randn(16, 12)
    found = torch.autograd.grad((low * outer).float().sum(), (values, dictionary))
    wanted = torch.autograd.grad((high * outer).sum(), (values, dictionary))
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == torch.float32
        assert 0 < float((one - other).norm() / other.norm()) < 0.01


def test_places_of_a_support_of_learned_atoms_alone_need_no_selection():
    places = EntryPositions.of(torch.tensor([[0, 2], [1, 2]]), atoms=3, width=4)
    assert places.learned is places.canonical is places.weight is None
    assert places.codes.tolist() == [0, 2, 4, 5]


def test_places_of_a_mixed_support():
    places = EntryPositions.of(torch.tensor([[0, 3], [4, 6]]), atoms=3, width=4)
    assert places.learned is not None
    assert places.canonical is not None
    assert places.weight is not None
    assert (places.learned.tolist(), places.codes.tolist()) == ([0], [0])
    assert (places.canonical.tolist(), places.weight.tolist()) == ([1, 2, 3], [0, 4 + 1, 4 + 3])
