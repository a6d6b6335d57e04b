"""Forms whose dictionary is sparse too."""

import pytest
import torch

from dsformer.errors import InputError
from dsformer.factorization.double_sparse import fit_double
from dsformer.factorization.methods import fit_weight
from dsformer.factorization.methods.double_sparse import specs
from dsformer.factorization.metric import Metric
from dsformer.factorization.search import Budget
from dsformer.factorization.target import Target
from dsformer.format.precision import INT8
from dsformer.format.spec import FormSpec

SPECS = [
    {"atoms": 32, "nonzeros": 6, "dictionary_nonzeros": 4},
    {"atoms": 8, "nonzeros": 6, "dictionary_nonzeros": 9},
    {"atoms": 6, "nonzeros": 8, "canonical": True, "dictionary_nonzeros": 9},
]


@pytest.mark.parametrize("fields", SPECS, ids=str)
def test_reports_the_error_of_the_form_it_returns(tall, fields):
    spec = FormSpec("input", 96, 32, **fields)
    form, error = fit_double(tall.input, spec, iterations=10)
    assert form.spec == spec
    assert int((form.dictionary != 0).sum(1).max()) <= spec.dictionary_nonzeros
    assert error < 1
    assert error == pytest.approx(tall.error(form), rel=1e-3, abs=2e-4)


def test_of_a_wide_weight(wide):
    spec = FormSpec("input", 24, 64, atoms=24, nonzeros=6, dictionary_nonzeros=20)
    form, error = fit_double(wide.input, spec, iterations=10)
    assert error == pytest.approx(wide.error(form), rel=1e-3, abs=2e-4)
    assert error < 0.6


def test_with_coupled_outputs(tall):
    generator = torch.Generator().manual_seed(5)
    outputs = torch.randn(400, 96, generator=generator) @ torch.randn(96, 96, generator=generator)
    metric = Metric(tall.metric.gram, tall.metric.factor, Metric.from_gram(outputs.T @ outputs, 0.1))
    weight = Target(tall.matrix, metric, tall.members)
    form, error = fit_double(weight.input, FormSpec("input", 96, 32, **SPECS[0]), iterations=10)
    assert error == pytest.approx(weight.error(form), rel=1e-3, abs=2e-4)


def test_a_product_of_sparse_matrices_is_found():
    generator = torch.Generator().manual_seed(0)

    def sparse(rows: int, columns: int, kept: int) -> torch.Tensor:
        places = torch.rand(rows, columns, generator=generator).topk(kept).indices
        return torch.zeros(rows, columns).scatter(1, places, torch.randn(rows, kept, generator=generator))

    inner = torch.eye(24) + 0.3 * sparse(24, 24, 2)
    weight = Target(sparse(120, 24, 4) @ inner, Metric.identity(24), (120,))
    spec = FormSpec("input", 120, 24, atoms=24, nonzeros=4, dictionary_nonzeros=3)
    _, error = fit_double(weight.input, spec, iterations=200)
    dense = fit_weight(weight, Budget(spec.stored_bits(32), 32))
    assert error < 0.05 < dense.error


def test_shapes_fit_their_budgets():
    for shape in ((96, 32), (32, 96), (48, 48)):
        budget = Budget(int(32 * shape[0] * shape[1] / 2.5), 32)
        found = specs(shape, budget)
        assert len(found) == 3
        assert all(budget.holds(spec) and spec.inner for spec in found)


def test_the_best_of_its_shapes_is_taken(tall):
    budget = Budget(32 * 96 * 32 // 2, 32)
    fitted = fit_weight(tall, budget, method="double_sparse")
    assert budget.holds(fitted.form.spec)
    best, spec = min(fitted.tried, key=lambda one: one[1])[0], fitted.form.spec
    assert (spec.atoms, spec.canonical, spec.dictionary_nonzeros, spec.code_count) == (
        best.atoms,
        best.canonical,
        best.dictionary_nonzeros,
        best.code_count,
    )
    assert fitted.error < fit_weight(tall, budget, method="low_rank").error


def test_bytes_are_of_two_sparse_matrices():
    spec = FormSpec("input", 96, 32, atoms=32, nonzeros=6, dictionary_nonzeros=4)
    assert spec.value_count == 32 * 4 + 96 * 6
    outer, inner = spec.support_bytes, 32 * 4 * 5 // 8
    assert spec.dictionary_support_bytes == inner
    assert spec.stored_bits(32) == 8 * (outer + inner) + 32 * spec.value_count
    assert spec.stored_bits(INT8) == 8 * (outer + inner + spec.value_count) + 16 * (32 + 96)


@pytest.mark.parametrize(
    "fields",
    [
        {"orientation": "output", "atoms": 8, "dictionary_nonzeros": 3},
        {"orientation": "input", "atoms": 0, "canonical": True, "dictionary_nonzeros": 3},
        {"orientation": "input", "atoms": 8, "dictionary_nonzeros": 32},
    ],
)
def test_other_dictionaries_cannot_be_sparse(fields):
    with pytest.raises(InputError):
        FormSpec(out_features=96, in_features=32, nonzeros=3, **fields)
