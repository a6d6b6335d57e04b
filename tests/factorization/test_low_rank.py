import pytest
import torch

from dsformer.factorization.least_squares import randomized_eigh
from dsformer.factorization.low_rank import fit_low_rank
from dsformer.format.spec import FormSpec


@pytest.mark.parametrize("rank", [1, 7, 20])
def test_attains_the_closed_form_optimum(wide, rank):
    form, error = fit_low_rank(wide.input, FormSpec("input", 24, 64, atoms=rank, core=rank))
    singular = torch.linalg.svdvals((wide.matrix @ wide.metric.factor).double())
    optimum = (singular[rank:].square().sum() / singular.square().sum()).sqrt()
    assert error == pytest.approx(float(optimum), rel=1e-3)
    assert torch.linalg.matrix_rank(form.dense(), rtol=1e-4) == rank


def test_randomized_eigenvectors_span_the_leading_subspace():
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(200, 200, generator=generator)).Q
    values = 0.9 ** torch.arange(200)
    moment = basis @ torch.diag(values) @ basis.T
    found, vectors = randomized_eigh(moment, 20)
    torch.testing.assert_close(found, values[:20], rtol=1e-3, atol=1e-5)
    kept = torch.trace(vectors @ moment @ vectors.T) / values[:20].sum()
    assert kept > 0.999
