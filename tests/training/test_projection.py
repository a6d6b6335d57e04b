from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dsformer.format.pattern import Pattern
from dsformer.format.spec import FormSpec
from dsformer.training.parametrization import LearnedBlock
from dsformer.training.projection import Projection, orient
from fixtures.forms import all_specs, label
from fixtures.training import learned_block, projection_of, random_metric

FREE = FormSpec("input", 32, 16, atoms=12, core=2, nonzeros=5)
GROUPED = replace(FREE, pattern=Pattern(group=4), permuted=True)
TWO_FOUR = FormSpec("input", 32, 16, atoms=12, nonzeros=6, pattern=Pattern(n=2, m=4))
OUTPUT = FormSpec("output", 16, 32, atoms=12, nonzeros=5, canonical=True)
PRUNED = FormSpec("input", 32, 16, atoms=0, nonzeros=5, canonical=True)
LOW_RANK = FormSpec("input", 32, 16, atoms=6, core=6)
SPECS = (FREE, GROUPED, TWO_FOUR, OUTPUT, replace(OUTPUT, canonical=False), PRUNED, LOW_RANK)


def weight_of(block: LearnedBlock) -> Tensor:
    return block.unit_weight().detach().clone()


def error(projection: Projection, target: Tensor, weight: Tensor) -> float:
    """Of a weight as an approximation of the target, in the projection's metric."""
    problem = projection.problem.of(target)
    return problem.error(problem.of(weight).target)


def perturbed(weight: Tensor, size: float = 0.3) -> Tensor:
    noise = torch.randn(weight.shape, generator=torch.Generator().manual_seed(9))
    return weight + size * weight.norm() / noise.norm() * noise


@pytest.mark.parametrize("spec", all_specs(), ids=label)
def test_what_is_represented_exactly_moves_nothing(spec: FormSpec):
    block = learned_block(spec)
    weight, mask = weight_of(block), block.mask()
    projection_of(block)(weight, spec, 3)
    assert torch.equal(block.mask(), mask)
    assert float((weight_of(block) - weight).norm() / weight.norm()) < 1e-3
    # Of banked codes, how many the fullest unit has is counted again.
    found = block.form().spec
    assert found == (replace(spec, nonzeros=found.nonzeros) if spec.pattern.bank else spec)
    assert found.nonzeros <= spec.nonzeros


@pytest.mark.parametrize("spec", SPECS, ids=label)
def test_a_perturbed_weight_is_approximated_better_than_by_the_old_codes(spec: FormSpec):
    block = learned_block(spec)
    projection, old = projection_of(block), weight_of(block)
    target = perturbed(old)
    projection(target, spec, 4)
    assert error(projection, target, weight_of(block)) < 0.97 * error(projection, target, old)


@pytest.mark.parametrize("spec", [FREE, GROUPED, OUTPUT, PRUNED], ids=label)
def test_fewer_and_more_nonzeros(spec: FormSpec):
    block = learned_block(spec)
    projection, target = projection_of(block), weight_of(block)
    errors = []
    for nonzeros in (3, 5, 8):
        projection(target, replace(spec, nonzeros=nonzeros), 6)
        assert block.mask().sum(1).tolist() == [spec.core + nonzeros] * spec.units
        assert bool(block.mask()[:, : spec.core].all())
        errors.append(error(projection, target, weight_of(block)))
    # Five are as many as the weight was made of: then what is left may be rounding alone.
    assert errors[0] > errors[1]
    assert errors[2] < max(errors[1], 1e-5)


def test_two_of_four_stay_two_of_four():
    block = learned_block(TWO_FOUR)
    before = block.mask()
    projection_of(block)(perturbed(weight_of(block), 1.0), TWO_FOUR, 4)
    assert not torch.equal(block.mask(), before)
    # Atoms j, j + 3, j + 6, j + 9 are one set of four.
    assert bool((block.mask().view(32, 4, 3).sum(1) == 2).all())


@pytest.mark.parametrize("orientation", ["input", "output"])
def test_groups_keep_sharing_supports(orientation):
    spec = FormSpec(orientation, 32, 32, atoms=12, core=2, nonzeros=5, pattern=Pattern(group=4), permuted=True)
    block = learned_block(spec)
    order, before = block.order.clone(), block.mask()
    projection_of(block)(perturbed(weight_of(block), 1.0), block.spec, 4)
    assert torch.equal(block.order, order)
    assert not torch.equal(block.mask(), before)
    supports = block.mask()[order].view(8, 4, -1)
    assert bool((supports == supports[:, :1]).all())


def test_groups_of_stacked_members_stay_within_them():
    spec = FormSpec("input", 32, 16, atoms=12, nonzeros=5, pattern=Pattern(group=4), permuted=True)
    block = learned_block(spec, (8, 16, 8))
    projection_of(block)(perturbed(weight_of(block)), block.spec, 4)
    assert [part.spec.out_features for part in block.form().split((8, 16, 8))] == [8, 16, 8]
    torch.testing.assert_close(block.form().dense(), weight_of(block), rtol=1e-5, atol=1e-5)


def test_atoms_have_norm_one_afterwards():
    block = learned_block(FREE)
    with torch.no_grad():
        block.dictionary.mul_(3)
    projection_of(block)(perturbed(weight_of(block)), block.spec, 2)
    torch.testing.assert_close(block.dictionary.norm(dim=1), torch.ones(12))


def test_the_metric_says_what_counts():
    """Inputs the layer never sees may be approximated badly."""
    block, other = learned_block(FREE), learned_block(FREE)
    target = perturbed(weight_of(block), 1.0)
    inputs = torch.randn(64, 16) * torch.cat([torch.ones(8), torch.full((8,), 0.01)])
    seen = type(random_metric(16)).from_gram((inputs.T @ inputs).double(), 1e-6)
    Projection(block, seen, target)(target, block.spec, 8)
    Projection(other, type(seen).identity(16), target)(target, block.spec, 8)
    first, second = ((weight_of(one) - target)[:, :8].norm() for one in (block, other))
    assert first < second


@pytest.mark.parametrize("spec", [FREE, OUTPUT], ids=["input", "output"])
def test_weights_come_with_one_row_a_unit(spec):
    block, weight = learned_block(spec), torch.randn(spec.out_features, spec.in_features)
    target = orient(weight, spec)
    assert target.shape == (spec.units, spec.width)
    made = Projection(block, random_metric(spec.in_features), target)
    before = error(made, target, weight_of(block))
    made(target, spec, 10)
    assert error(made, target, weight_of(block)) < before
