"""The closed forms of the pursuit against brute force."""

import pytest
import torch

from dsformer.factorization.sparse_coding import Atoms, code_penalised, solve_least_squares, update_dictionary
from dsformer.factorization.support import choose_ragged_support
from dsformer.format.pattern import largest
from dsformer.format.spec import FormSpec


def objective(atoms, codes):
    problem = atoms.problem
    residual = problem.target - atoms.combine(codes)
    weighted = residual if problem.coupling is None else problem.coupling.gram @ residual
    return (residual * weighted).sum()


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("orientation", ["input", "output"])
@pytest.mark.parametrize("canonical", [False, True])
def test_penalised_codes_are_stationary(wide, orientation, canonical):
    problem = wide.problem(orientation)
    atoms = Atoms(problem, problem.start(6), canonical)
    positions = atoms.product().shape[1]
    anchor = torch.randn(len(problem.target), positions, generator=torch.Generator().manual_seed(0))
    codes = code_penalised(atoms, anchor, 0.3).requires_grad_()
    (objective(atoms, codes) + 0.3 * (codes - anchor).square().sum()).backward()
    assert codes.grad.abs().max() < 2e-3 * codes.detach().abs().max()


@pytest.mark.parametrize("orientation", ["input", "output"])
@pytest.mark.parametrize("canonical", [False, True])
def test_dictionary_update_is_stationary(wide, orientation, canonical):
    problem = wide.problem(orientation)
    atoms = Atoms(problem, problem.start(5), canonical)
    codes = torch.randn(len(problem.target), atoms.product().shape[1], generator=torch.Generator().manual_seed(0))
    dictionary, norm = update_dictionary(atoms, codes)
    codes[:, :5] *= norm.T
    dictionary.requires_grad_()
    objective(Atoms(problem, dictionary, canonical), codes).backward()
    assert dictionary.grad.abs().max() < 1e-3 * problem.energy
    assert torch.allclose(dictionary.norm(dim=1), torch.ones(5), atol=1e-5)


@pytest.mark.parametrize(("orientation", "group"), [("input", 1), ("input", 4), ("output", 1)])
def test_least_squares_is_the_optimum_on_its_support(wide, orientation, group):
    problem = wide.problem(orientation)
    atoms = Atoms(problem, problem.start(8), True)
    order = torch.randperm(len(problem.target), generator=torch.Generator().manual_seed(1))
    mask = torch.zeros(len(problem.target), atoms.product().shape[1], dtype=torch.bool)
    rows = atoms.product()[order[::group]].abs()
    mask[order] = largest(rows, 5).repeat_interleave(group, 0)
    codes = torch.zeros_like(atoms.product())
    for _ in range(8):  # conjugate gradients go on where they stopped
        codes = solve_least_squares(atoms, codes, mask, order, group)
    assert (codes[~mask] == 0).all()
    codes.requires_grad_()
    objective(atoms, codes).backward()
    assert (codes.grad * mask).abs().max() < 5e-3 * atoms.product().abs().max()


def test_a_unit_that_has_all_of_overcomplete_atoms(wide):
    problem = wide.input
    atoms = Atoms(problem, problem.start(20), True)
    mask = torch.zeros_like(atoms.product(), dtype=torch.bool)
    mask[0], mask[1:, :3] = True, True
    codes = solve_least_squares(atoms, torch.zeros_like(atoms.product()), mask, torch.arange(len(mask)), 1)
    left = problem.target[0] - atoms.combine(codes)[0]
    assert float(left.norm()) < 1e-2 * float(problem.target[0].norm())


@pytest.mark.parametrize("canonical", [False, True])
def test_least_squares_where_units_have_different_numbers_of_codes(wide, canonical):
    problem = wide.input
    atoms = Atoms(problem, problem.start(8), canonical)
    product = atoms.product()
    units, positions = product.shape
    spec = FormSpec("input", units, wide.matrix.shape[1], 8, 0, positions, canonical, ragged=((units, 4 * units),))
    mask = choose_ragged_support(spec, product.abs())
    mask[3] = False
    assert len(set(mask.sum(1).tolist())) > 3
    codes = solve_least_squares(atoms, torch.zeros_like(product), mask, torch.arange(len(mask)), 1)
    assert (codes[~mask] == 0).all()
    codes.requires_grad_()
    objective(atoms, codes).backward()
    assert (codes.grad * mask).abs().max() < 5e-3 * product.abs().max()
