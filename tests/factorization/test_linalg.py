import pytest
import torch

from dsformer.factorization.linalg import decompose_symmetric


def test_eigenvectors_of_atoms_some_of_which_are_unused():
    atoms = torch.randn(20, 30, generator=torch.Generator().manual_seed(0))
    atoms[5:17] = 0
    values, vectors = decompose_symmetric(atoms @ atoms.T)
    torch.testing.assert_close(vectors @ values.diag() @ vectors.T, atoms @ atoms.T, rtol=1e-4, atol=1e-4)
    assert values[0] >= -1e-4


@pytest.mark.parametrize("silently", [False, True])
def test_double_precision_where_single_fails(monkeypatch: pytest.MonkeyPatch, silently: bool):
    plain, asked = torch.linalg.eigh, []

    def failing(matrix: torch.Tensor):
        asked.append(matrix.dtype)
        if matrix.dtype == torch.float32 and silently:
            return matrix[0] * torch.nan, matrix * torch.nan
        if matrix.dtype == torch.float32:
            raise torch.linalg.LinAlgError("failed to converge")
        return plain(matrix)

    matrix = torch.randn(6, 6) @ torch.eye(6)
    matrix = matrix + matrix.T
    expected = plain(matrix)
    monkeypatch.setattr(torch.linalg, "eigh", failing)
    values, vectors = decompose_symmetric(matrix)
    assert asked == [torch.float32, torch.float64]
    assert values.dtype == vectors.dtype == torch.float32
    torch.testing.assert_close(values, expected.eigenvalues, rtol=1e-4, atol=1e-5)
