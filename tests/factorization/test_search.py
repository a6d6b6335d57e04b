import pytest
import torch

from dsformer.errors import InputError
from dsformer.factorization.dense_sparse import Effort
from dsformer.factorization.methods import fit_weight
from dsformer.factorization.metric import Metric
from dsformer.factorization.search import Budget
from dsformer.factorization.target import EmbeddingTarget, Target
from dsformer.format.pattern import Pattern

QUICK = Effort(iterations=10, screening=4)


@pytest.mark.parametrize("pattern", ["free", "grouped(8)", "2:4", "banked(64)"])
@pytest.mark.parametrize("value_bits", [32, 8])
@pytest.mark.parametrize("name", ["wide", "tall"])
def test_chosen_form_fits_the_budget_and_beats_low_rank(request, name, pattern, value_bits):
    weight = request.getfixturevalue(name)
    budget = Budget(weight.matrix.numel() * value_bits // 2, value_bits)
    found = fit_weight(weight, budget, Pattern.parse(pattern), effort=QUICK)
    parts = found.form.spec.split(weight.members)
    support = sum(part.support_bytes + part.permutation_bytes for part in parts)
    assert found.form.spec.value_count * value_bits + 8 * support <= budget.bits
    assert found.error <= fit_weight(weight, budget, method="low_rank").error


def test_free_dense_sparse_is_at_or_below_its_special_cases(tall):
    budget = Budget(tall.matrix.numel() * 16 // 2, 16)
    errors = {
        method: fit_weight(tall, budget, method=method).error for method in ("low_rank", "pruning", "dense_sparse")
    }
    assert errors["dense_sparse"] <= min(errors.values()) + 1e-3


def test_tiny_budget_says_so(wide):
    with pytest.raises(InputError, match="fits in"):
        fit_weight(wide, Budget(64, 32))


def test_table_is_learned_on_a_sample_and_coded_whole(monkeypatch):
    monkeypatch.setattr("dsformer.factorization.target.SAMPLE_ROWS", 128)
    monkeypatch.setattr("dsformer.factorization.target.CHUNK_ROWS", 96)
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(400, 40, generator=generator) @ torch.diag(torch.linspace(1, 0.05, 40))
    weights = torch.rand(400, generator=generator) + 0.1
    table = EmbeddingTarget(matrix, Metric.identity(40), (400,), weights)
    for pattern in ("free", "grouped(8)"):
        found = fit_weight(table, Budget(400 * 40 * 32 // 2, 32), Pattern.parse(pattern), effort=QUICK)
        assert found.form.spec.out_features == 400
        root = weights.sqrt()[:, None]
        error = ((matrix - found.form.dense()) * root).norm() / (matrix * root).norm()
        assert found.error == pytest.approx(float(error), abs=1e-4)
        assert found.error <= fit_weight(table, Budget(400 * 40 * 32 // 2, 32), method="low_rank").error


def test_groups_of_any_size_in_a_table(monkeypatch):
    """The sample and the chunks, too, are of whole groups."""
    monkeypatch.setattr("dsformer.factorization.target.SAMPLE_ROWS", 128)
    monkeypatch.setattr("dsformer.factorization.target.CHUNK_ROWS", 100)
    matrix = torch.randn(399, 40, generator=torch.Generator().manual_seed(0))
    table = EmbeddingTarget(matrix, Metric.identity(40), (399,), torch.ones(399))
    found = fit_weight(table, Budget(399 * 40 * 32 // 2, 32), Pattern.parse("grouped(3)"), effort=QUICK)
    error = (matrix - found.form.dense()).norm() / matrix.norm()
    assert found.error == pytest.approx(float(error), abs=1e-4)
    assert found.form.spec.pattern.group in (1, 3)


def test_a_ridge_too_small_for_inputs_of_few_directions():
    rows = torch.randn(3, 40, generator=torch.Generator().manual_seed(0))
    with pytest.raises(InputError, match="ridge: 1e-20 is too small"):
        Metric.from_gram((rows.T @ rows).float(), 1e-20)


def test_whitening_refuses_a_broken_gram():
    for gram in (torch.zeros(4, 4), torch.full((4, 4), float("nan"))):
        with pytest.raises(InputError, match="calibration"):
            Metric.from_gram(gram)
    assert isinstance(Target(torch.eye(4), Metric.from_gram(torch.eye(4)), (4,)).input.energy, float)
