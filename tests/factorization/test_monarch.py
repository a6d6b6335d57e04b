"""Monarch matrices: two block-diagonal factors whose supports are always the same."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dsformer.errors import InputError
from dsformer.factorization.methods import fit_weight
from dsformer.factorization.methods.monarch import specs
from dsformer.factorization.metric import Metric
from dsformer.factorization.monarch import fit_monarch
from dsformer.factorization.search import Budget
from dsformer.factorization.target import Target
from dsformer.format.indices import implied_support
from dsformer.format.spec import FormSpec
from fixtures.forms import random_form


def monarch(rows: int, width: int, blocks: int, rank: int) -> FormSpec:
    kept = width // blocks
    return FormSpec("input", rows, width, rank * blocks, nonzeros=rank, dictionary_nonzeros=kept, blocks=blocks)


def plain(matrix: torch.Tensor) -> Target:
    return Target(matrix, Metric.identity(matrix.shape[1]), (len(matrix),))


@given(st.integers(1, 5), st.integers(1, 5), st.integers(2, 5), st.integers(1, 6))
def test_factors_are_block_diagonal_with_a_permutation_between_them(rows: int, size: int, blocks: int, rank: int):
    spec = monarch(rows * blocks, size * blocks, blocks, rank)
    assert spec.inner is not None
    assert spec.stored_bits(32) == 32 * spec.value_count
    assert spec.value_count == rank * (spec.units + spec.width)
    form = random_form(spec)
    # As the paper writes it: R, then inputs and outputs of the second factor in strides.
    atoms, units = (torch.arange(count).view(-1, blocks).T.reshape(-1) for count in (spec.atoms, spec.units))
    left, right = form.codes()[units][:, atoms], form.dictionary
    of_units = torch.arange(blocks).repeat_interleave(rows)[:, None] == torch.arange(blocks).repeat_interleave(rank)
    of_atoms = torch.arange(blocks).repeat_interleave(rank)[:, None] == torch.arange(blocks).repeat_interleave(size)
    assert not (left * ~of_units).any()
    assert not (right * ~of_atoms).any()
    assert int(of_units.sum()) == spec.code_count
    assert torch.equal(implied_support(spec).sort(1).values, implied_support(spec))


def test_without_correlations_the_projection_is_the_optimum():
    generator = torch.Generator().manual_seed(0)
    weight, spec = plain(torch.randn(24, 16, generator=generator)), monarch(24, 16, 2, 6)
    form, error = fit_monarch(weight.input, spec, rounds=0)
    lost = 0.0
    for inputs in weight.matrix.split(8, 1):
        for j in range(2):
            lost += float(torch.linalg.svdvals(inputs[j::2])[3:].square().sum())
    assert error == pytest.approx((lost / float(weight.matrix.square().sum())) ** 0.5, rel=1e-4)
    assert fit_monarch(weight.input, spec, rounds=8)[1] == pytest.approx(error, rel=1e-3)
    assert weight.error(form) == pytest.approx(error, rel=1e-4)


def test_a_monarch_matrix_is_found():
    form = random_form(monarch(48, 32, 4, 8))
    weight = plain(form.dense())
    assert fit_monarch(weight.input, form.spec, rounds=0)[1] < 1e-3
    # Of the same number of values.
    assert weight.low_rank(8)[1] > 0.3


def test_alternating_takes_in_correlations(tall: Target):
    spec = monarch(96, 32, 4, 8)
    start, end = fit_monarch(tall.input, spec, rounds=0), fit_monarch(tall.input, spec, rounds=20)
    assert end[1] < 0.98 * start[1]
    for form, error in (start, end):
        assert error == pytest.approx(tall.error(form), rel=1e-3, abs=1e-4)
        assert torch.equal(form.dictionary != 0, torch.block_diag(*[torch.ones(8, 8)] * 4).bool())


def test_with_coupled_outputs(tall: Target):
    generator = torch.Generator().manual_seed(5)
    outputs = torch.randn(400, 96, generator=generator) @ torch.randn(96, 96, generator=generator)
    metric = Metric(tall.metric.gram, tall.metric.factor, Metric.from_gram(outputs.T @ outputs, 0.1))
    weight = Target(tall.matrix, metric, tall.members)
    spec = monarch(96, 32, 2, 8)
    start, (form, error) = fit_monarch(weight.input, spec, rounds=0), fit_monarch(weight.input, spec, rounds=10)
    assert error == pytest.approx(weight.error(form), rel=1e-3, abs=2e-4)
    assert error < start[1]


def test_the_best_number_of_blocks_is_taken(tall: Target):
    fitted = fit_weight(tall, Budget(32 * 96 * 32 // 2, 32), method="monarch")
    assert {spec.blocks for spec, _ in fitted.tried} == {2, 4, 8}
    assert fitted.form.spec == min(fitted.tried, key=lambda one: one[1])[0]


def test_numbers_of_blocks_divide_every_layer():
    budget = Budget(32 * 48 * 24 // 2, 32)
    found = specs((48, 24), (36, 12), budget)
    assert [spec.blocks for spec in found] == [2, 4]
    assert all(
        budget.holds(spec) and not budget.holds(monarch(48, 24, spec.blocks, spec.nonzeros + 1)) for spec in found
    )
    assert not specs((48, 25), (48,), budget)


def test_a_weight_that_cannot_be_divided_has_one_block():
    weight, budget = plain(torch.randn(77, 32)), Budget(77 * 32 * 32 // 2, 32)
    fitted, expected = (fit_weight(weight, budget, method=method) for method in ("monarch", "low_rank"))
    assert (fitted.form.spec, fitted.error) == (expected.form.spec, pytest.approx(expected.error))
    with pytest.raises(InputError, match="no monarch form of a 77x32 weight"):
        fit_weight(weight, Budget(64, 32), method="monarch")


@pytest.mark.parametrize(
    "fields",
    [
        {"atoms": 8, "nonzeros": 4, "dictionary_nonzeros": 5},
        {"atoms": 8, "nonzeros": 3, "dictionary_nonzeros": 6},
        {"atoms": 8, "nonzeros": 4},
        {"atoms": 8, "nonzeros": 4, "dictionary_nonzeros": 6, "core": 2},
        {"atoms": 8, "nonzeros": 4, "dictionary_nonzeros": 6, "canonical": True},
    ],
)
def test_other_factors_have_no_blocks(fields: dict[str, int]):
    with pytest.raises(InputError, match="blocks"):
        FormSpec("input", 16, 12, blocks=2, **fields)


def test_rounds_do_not_diverge_where_the_metric_is_about_few_outputs():
    """As in the last layers of a model with one output: what they say matters along next to one direction."""
    generator = torch.Generator().manual_seed(0)
    slopes = torch.randn(400, 1, generator=generator) @ torch.randn(1, 192, generator=generator)
    slopes += 1e-3 * torch.randn(400, 192, generator=generator)
    read = 3 * torch.randn(400, 1, generator=generator) @ torch.randn(1, 192, generator=generator)
    read += torch.randn(400, 192, generator=generator) * torch.logspace(0, -3, 192)
    metric = Metric.from_gram((read.T @ read).double(), 1e-3, Metric.from_gram((slopes.T @ slopes).double(), 0.1))
    weight = Target(torch.randn(192, 192, generator=generator), metric, (192,))
    errors = [fit_monarch(weight.input, monarch(192, 192, 2, 44), rounds=rounds)[1] for rounds in (0, 1, 4, 16)]
    assert errors == sorted(errors, reverse=True)
