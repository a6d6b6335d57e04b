import pytest
import torch

from dsformer.factorization.metric import Metric
from dsformer.factorization.target import Target


def correlated(rows: int, width: int, seed: int = 0) -> tuple[torch.Tensor, Metric]:
    """A weight with a decaying spectrum and a metric with correlated inputs."""
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(rows, width, generator=generator) @ torch.diag(torch.linspace(1, 0.1, width))
    inputs = torch.randn(4 * width, width, generator=generator)
    inputs = inputs @ torch.randn(width, width, generator=generator) + 0.5 * inputs
    return base, Metric.from_gram(inputs.T @ inputs)


@pytest.fixture
def wide() -> Target:
    matrix, metric = correlated(24, 64)
    return Target(matrix, metric, (24,))


@pytest.fixture
def tall() -> Target:
    matrix, metric = correlated(96, 32)
    return Target(matrix, metric, (32, 64))


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products in single precision, those that need not be exact too."""
    monkeypatch.setattr("dsformer.factorization.linalg.fast_bf16", lambda: False)
