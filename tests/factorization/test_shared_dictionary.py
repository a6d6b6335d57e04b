"""One dictionary for several weights."""

import pytest
import torch

from dsformer.factorization.dense_sparse import fit
from dsformer.factorization.low_rank import fit_low_rank
from dsformer.factorization.metric import Metric
from dsformer.factorization.shared_dictionary import fit_shared
from dsformer.factorization.target import Target
from dsformer.format.spec import FormSpec

WIDTH = 32


def metric(seed: int, output: int | None = None) -> Metric:
    def of(size: int, seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        inputs = torch.randn(4 * size, size, generator=generator)
        inputs = inputs @ (torch.randn(size, size, generator=generator) / size**0.5 + torch.eye(size))
        return inputs.T @ inputs

    over = None if output is None else Metric.from_gram(of(output, seed + 100))
    return Metric.from_gram(of(WIDTH, seed), output=over)


def weight(seed: int, rows: int = 48, own: Metric | None = None) -> Target:
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(rows, WIDTH, generator=generator) @ torch.diag(torch.linspace(1, 0.1, WIDTH))
    return Target(matrix, own or metric(seed), (rows,))


SPECS = [{"atoms": 14, "nonzeros": 6}, {"atoms": 6, "nonzeros": 8, "canonical": True}, {"atoms": 9, "core": 9}]


@pytest.mark.parametrize("fields", SPECS, ids=str)
@pytest.mark.parametrize("curved", [False, True])
def test_reports_the_errors_of_the_form_it_returns(fields, curved):
    rows = (48, 40)
    weights = [weight(i, n, metric(i, n if curved else None)) for i, n in enumerate(rows)]
    spec = FormSpec("input", sum(rows), WIDTH, **fields)
    form, errors = fit_shared([one.input for one in weights], spec, [1.0, 1.0], iterations=8)
    assert (form.spec.atoms, form.spec.code_count) == (spec.atoms, spec.code_count)
    assert [len(part.values) for part in form.split(rows)] == list(rows)
    parts = form.split(rows)
    assert parts[0].dictionary is parts[1].dictionary
    for one, part, error in zip(weights, parts, errors, strict=True):
        assert error < 1
        assert error == pytest.approx(one.error(part), rel=1e-3, abs=2e-4)


def alike() -> tuple[list[Target], Target]:
    """Two weights that read inputs of one kind, and both stacked."""
    own = metric(0)
    weights = [weight(i, own=own) for i in (1, 2)]
    return weights, Target(torch.cat([one.matrix for one in weights]), own, (48, 48))


def test_with_inputs_alike_it_is_the_fit_of_the_stack():
    weights, stack = alike()
    spec = FormSpec("input", 96, WIDTH, atoms=14, nonzeros=6)
    form, _ = fit_shared([one.input for one in weights], spec, [1.0, 1.0], iterations=20)
    _, expected = fit(stack.input, spec, iterations=20, tolerance=0)
    assert stack.error(form) == pytest.approx(expected, rel=0.01)


def test_low_rank_attains_the_optimum_of_the_stack():
    weights, stack = alike()
    spec = FormSpec("input", 96, WIDTH, atoms=10, core=10)
    form, _ = fit_shared([one.input for one in weights], spec, [1.0, 1.0], iterations=10)
    _, optimum = fit_low_rank(stack.input, spec)
    assert stack.error(form) == pytest.approx(optimum, rel=1e-3)


def test_a_dictionary_that_is_shared_is_found():
    generator = torch.Generator().manual_seed(0)
    dictionary = torch.randn(8, WIDTH, generator=generator)

    def planted(seed: int) -> Target:
        generator = torch.Generator().manual_seed(seed)
        codes = torch.zeros(150, 8).scatter_(1, torch.rand(150, 8, generator=generator).topk(2).indices, 1.0)
        return Target(codes * torch.randn(150, 8, generator=generator) @ dictionary, metric(seed), (150,))

    weights = [planted(1), planted(2)]
    spec = FormSpec("input", 300, WIDTH, atoms=8, nonzeros=2)
    _, errors = fit_shared([one.input for one in weights], spec, [1.0, 1.0], iterations=150)
    # By themselves, with half the atoms each, they cannot be written at all.
    alone = [fit(one.input, FormSpec("input", 150, WIDTH, atoms=4, nonzeros=2), iterations=150)[1] for one in weights]
    assert max(errors) < 0.1 < min(alone)


def test_errors_count_by_their_weights():
    weights = [weight(1), weight(2)]
    spec = FormSpec("input", 96, WIDTH, atoms=8, nonzeros=4)

    def first(importance: float) -> float:
        return fit_shared([one.input for one in weights], spec, [importance, 1.0], iterations=10)[1][0]

    assert first(20.0) < first(1.0) < first(0.05)
