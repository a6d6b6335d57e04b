import pytest
import torch

from dsformer.factorization.dense_sparse import fit
from dsformer.factorization.low_rank import fit_low_rank
from dsformer.factorization.metric import Metric
from dsformer.factorization.target import Target
from dsformer.format.pattern import Pattern
from dsformer.format.spec import FormSpec


def measured(weight: Target, form) -> float:
    """The error by its definition, from the dense weights."""
    factor = weight.metric.factor
    return float(((weight.matrix - form.dense()) @ factor).norm() / (weight.matrix @ factor).norm())


SPECS = [
    {"atoms": 12, "nonzeros": 5},
    {"atoms": 12, "core": 4, "nonzeros": 3},
    {"atoms": 6, "nonzeros": 8, "canonical": True},
    {"atoms": 0, "nonzeros": 9, "canonical": True},
    {"atoms": 12, "nonzeros": 6, "pattern": Pattern.parse("2:4")},
    {"atoms": 12, "nonzeros": 6, "pattern": Pattern(4), "permuted": True},
    {"atoms": 6, "nonzeros": 8, "canonical": True, "pattern": Pattern(8), "permuted": True},
]


@pytest.mark.parametrize("fields", SPECS, ids=str)
@pytest.mark.parametrize("orientation", ["input", "output"])
def test_fit_reports_the_error_of_the_form_it_returns(wide, orientation, fields):
    spec = FormSpec(orientation, 24, 64, **fields)
    form, error = fit(wide.problem(orientation), spec, iterations=12)
    assert error < 1
    assert error == pytest.approx(measured(wide, form), abs=2e-4)
    assert form.values.shape == (spec.units, spec.core + spec.nonzeros)
    assert form.indices.shape == (spec.groups, spec.nonzeros)


def test_groups_and_permutation_stay_inside_members(tall):
    spec = FormSpec("input", 96, 32, atoms=12, nonzeros=6, pattern=Pattern(8), permuted=True)
    form, error = fit(tall.input, spec, iterations=12)
    assert error == pytest.approx(measured(tall, form), abs=2e-4)
    parts = form.split(tall.members)
    torch.testing.assert_close(torch.cat([part.dense() for part in parts]), form.dense())


def test_a_planted_factorization_is_recovered():
    generator = torch.Generator().manual_seed(0)
    codes = torch.zeros(300, 10).scatter_(1, torch.rand(300, 10, generator=generator).topk(2).indices, 1.0)
    codes *= torch.randn(300, 10, generator=generator)
    weight = codes @ torch.randn(10, 32, generator=generator)
    planted = Target(weight, Metric.identity(32), (300,))
    _, error = fit(planted.input, FormSpec("input", 300, 32, atoms=10, nonzeros=2), iterations=200)
    _, rank_error = fit_low_rank(planted.input, FormSpec("input", 300, 32, atoms=5, core=5))
    assert error < 0.1 < rank_error


def test_same_input_same_result(tall):
    spec = FormSpec("input", 96, 32, atoms=12, nonzeros=5)
    first, second = (fit(tall.input, spec, iterations=10)[0] for _ in range(2))
    assert torch.equal(first.values, second.values)
    assert torch.equal(first.dictionary, second.dictionary)


def test_more_iterations_do_not_hurt(tall):
    spec = FormSpec("input", 96, 32, atoms=16, nonzeros=4)
    few, many = (fit(tall.input, spec, iterations=n, tolerance=0)[1] for n in (4, 60))
    assert many < few
