"""Weights whose outputs have a metric too: both orientations solve one and the same problem."""

from dataclasses import replace

import pytest
import torch

from dsformer.factorization import search
from dsformer.factorization.dense_sparse import Effort
from dsformer.factorization.methods import fit_weight
from dsformer.factorization.metric import Metric
from dsformer.factorization.search import Budget
from dsformer.factorization.sparse_coding import Atoms, code_penalised, solve_least_squares, update_dictionary
from dsformer.factorization.target import Target
from dsformer.format.form import Form
from dsformer.format.spec import FormSpec, Orientation

ORIENTATIONS: tuple[Orientation, ...] = ("input", "output")


def curved(weight: Target) -> Target:
    """The weight with a metric of its outputs, a few of which matter much more than the others."""
    rows = len(weight.matrix)
    generator = torch.Generator().manual_seed(3)
    slopes = torch.randn(40, rows, generator=generator) @ torch.diag(torch.linspace(1, 0.05, rows))
    mixed = slopes @ torch.linalg.qr(torch.randn(rows, rows, generator=generator)).Q
    return replace(weight, metric=replace(weight.metric, output=Metric.from_gram(mixed.T @ mixed, 0.1)))


@pytest.fixture(params=["wide", "tall"])
def weight(request: pytest.FixtureRequest) -> Target:
    return curved(request.getfixturevalue(request.param))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_errors_are_those_of_the_metric(weight: Target, orientation: Orientation):
    spec = FormSpec(orientation, *weight.matrix.shape, atoms=10, nonzeros=6, canonical=True)
    form, error = weight.fit(spec, Effort(iterations=5, screening=2))
    problem, difference = weight.problem(orientation), weight.matrix - form.dense()
    assert error == pytest.approx(weight.error(form), rel=1e-3)
    output = weight.metric.output
    assert output is not None
    exact = torch.einsum("ij,ik,kl,jl->", difference, output.gram, difference, weight.metric.gram)
    whole = torch.einsum("ij,ik,kl,jl->", weight.matrix, output.gram, weight.matrix, weight.metric.gram)
    assert error == pytest.approx(float((exact / whole).sqrt()), rel=1e-3)
    assert problem.error(torch.zeros_like(problem.target)) == pytest.approx(1.0, rel=1e-4)


# The last is pruning.
KINDS = pytest.mark.parametrize(("learned", "canonical"), [(8, False), (8, True), (0, True)])


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("orientation", ORIENTATIONS)
@KINDS
def test_penalised_codes_are_where_the_slope_is_zero(
    weight: Target, orientation: Orientation, learned: int, canonical: bool
):
    problem = weight.problem(orientation)
    atoms = Atoms(problem, problem.start(learned), canonical)
    anchor = 0.1 * torch.ones_like(atoms.product())
    codes = code_penalised(atoms, anchor, 0.3).requires_grad_()
    residual = problem.target - atoms.combine(codes)
    assert problem.coupling is not None
    loss = (residual * (problem.coupling.gram @ residual)).sum() + 0.3 * (codes - anchor).square().sum()
    (slope,) = torch.autograd.grad(loss, codes)
    assert float(slope.abs().max()) < 2e-3


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@KINDS
def test_in_bf16_a_step_goes_almost_as_far_down(
    weight: Target, orientation: Orientation, learned: int, canonical: bool, monkeypatch: pytest.MonkeyPatch
):
    def step(bf16: bool) -> float:
        monkeypatch.setattr("dsformer.factorization.linalg.fast_bf16", lambda: bf16)
        problem = weight.problem(orientation)
        assert problem.coupling is not None
        assert problem.coupling.rough_vectors.dtype == (torch.bfloat16 if bf16 else torch.float32)
        atoms = Atoms(problem, problem.start(learned), canonical)
        anchor = 0.1 * torch.ones_like(atoms.product())
        codes = code_penalised(atoms, anchor, 0.3)
        assert codes.dtype == torch.float32
        return problem.error(atoms.combine(codes)) ** 2 * problem.energy + 0.3 * float((codes - anchor).square().sum())

    exact = step(False)
    weight = replace(weight)
    assert exact < step(True) < 1.01 * exact


def test_in_bf16_fits_are_as_good(weight: Target, monkeypatch: pytest.MonkeyPatch):
    spec, effort = FormSpec("input", *weight.matrix.shape, atoms=8, nonzeros=4, canonical=True), Effort(15, 2)
    errors = []
    for bf16 in (False, True):
        monkeypatch.setattr("dsformer.factorization.linalg.fast_bf16", lambda bf16=bf16: bf16)
        errors.append(replace(weight).fit(spec, effort)[1])
    assert errors[0] != errors[1]
    assert errors[1] < 1.03 * errors[0]


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_every_step_lowers_the_error(weight: Target, orientation: Orientation):
    problem = weight.problem(orientation)
    atoms = Atoms(problem, problem.start(8), True)
    mask = torch.rand(atoms.product().shape, generator=torch.Generator().manual_seed(0)) < 0.4
    codes, order = torch.zeros(mask.shape), torch.arange(len(mask))
    errors = [problem.error(atoms.combine(codes))]
    for _ in range(3):
        codes = solve_least_squares(atoms, codes, mask, order, 1)
        errors.append(problem.error(atoms.combine(codes)))
        dictionary, norm = update_dictionary(atoms, codes)
        codes[:, :8] *= norm.T
        atoms = Atoms(problem, dictionary, True)
        errors.append(problem.error(atoms.combine(codes)))
    assert errors == sorted(errors, reverse=True)


def test_low_rank_attains_its_optimum(weight: Target):
    form, error = weight.low_rank(7)
    values = torch.linalg.svdvals(weight.metric.weighed(weight.matrix).double())
    assert error == pytest.approx(float(values[7:].norm() / values.norm()), rel=1e-3)
    assert weight.error(form) == pytest.approx(error, rel=1e-3)


@pytest.mark.parametrize("method", ["dense_sparse", "pruning", "low_rank"])
def test_a_fit_in_the_metric_of_both_sides_is_better_there(weight: Target, method: str):
    budget, quick = Budget(weight.matrix.numel() * 16 // 2, 16), Effort(iterations=15, screening=5)
    inputs_only = replace(weight, metric=replace(weight.metric, output=None))
    both, one = (fit_weight(each, budget, method=method, effort=quick) for each in (weight, inputs_only))
    assert both.error < 0.97 * weight.error(one.form)


def test_of_several_shapes_a_short_fit_chooses_one(weight: Target, monkeypatch: pytest.MonkeyPatch):
    trials, fits = [], []
    trial, fit = Target.trial, Target.fit

    def tried(self: Target, spec: FormSpec, effort: Effort) -> float:
        trials.append((trial(self, spec, effort), spec))
        return trials[-1][0]

    def fitted(self: Target, spec: FormSpec, effort: Effort) -> tuple[Form, float]:
        fits.append(spec)
        return fit(self, spec, effort)

    monkeypatch.setattr(Target, "trial", tried)
    monkeypatch.setattr(Target, "fit", fitted)
    # Both families, however far apart.
    monkeypatch.setattr(search, "CONTENDER", 10.0)
    monkeypatch.setattr(search, "HOPELESS", 10.0)
    rows, columns = weight.matrix.shape
    fit_weight(weight, Budget(32 * rows * columns // 3, 32), effort=Effort(iterations=6, screening=3))
    assert {spec.canonical for _, spec in trials} == {False, True}
    assert fits == [min(trials, key=lambda pair: pair[0])[1]]
    trials.clear()
    flat = replace(weight, metric=replace(weight.metric, output=None))
    fit_weight(flat, Budget(32 * rows * columns // 3, 32), effort=Effort(iterations=6, screening=3))
    assert not trials


def about_one_direction(weight: Target) -> Target:
    """The weight with outputs of which little more than one sum matters, as before a regression's head."""
    rows = len(weight.matrix)
    direction = torch.randn(rows, 1, generator=torch.Generator().manual_seed(3))
    return replace(weight, metric=replace(weight.metric, output=Metric.from_gram(direction @ direction.T, 1e-3)))


def test_the_spread_of_a_metric_is_the_part_of_directions_it_is_about(tall: Target):
    even = replace(tall, metric=replace(tall.metric, output=Metric.identity(96))).input.coupling
    single = about_one_direction(tall).input.coupling
    assert even is not None
    assert single is not None
    assert even.spread == pytest.approx(1)
    assert 1 / 96 < single.spread < 2 / 96


def test_pruning_starts_lower_where_a_metric_is_about_few_directions(tall: Target, monkeypatch: pytest.MonkeyPatch):
    weight = about_one_direction(tall)
    spec = FormSpec("input", *tall.matrix.shape, atoms=0, nonzeros=6, canonical=True)
    error = weight.fit(spec, Effort(iterations=10))[1]
    monkeypatch.setattr("dsformer.factorization.dense_sparse.LEAST", 1.0)
    assert error < 0.7 * weight.fit(spec, Effort(iterations=10))[1]
