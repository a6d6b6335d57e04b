import pytest
import torch
from torch import nn

from dsformer.allocation.planned_block import PlannedBlock
from dsformer.calibration.trace import Block
from dsformer.factorization.dense_sparse import Effort
from dsformer.factorization.flops import EIGEN
from dsformer.factorization.metric import Metric
from dsformer.factorization.search import Budget
from dsformer.format.pattern import FREE
from dsformer.pipeline import cost_estimate as estimate
from dsformer.pipeline.cost_estimate import PROBE_SECONDS, PROBE_SIDE, fit_operations, measure_matmul_rate

WIDE = (96, 384)


def job(shape: tuple[int, int], outputs: bool = True) -> PlannedBlock:
    metric = Metric.from_gram(torch.eye(shape[1]), output=Metric.identity(shape[0]) if outputs else None)
    block = Block("linear", ("layer",), (nn.Linear(shape[1], shape[0]),))
    return PlannedBlock(block, metric, Budget(32 * shape[0] * shape[1] // 3, 32))


@pytest.mark.parametrize("method", ["dense_sparse", "double_sparse", "monarch"])
def test_effort_is_paid_for(method: str):
    little, much = (fit_operations(job(WIDE), FREE, method, Effort(i, i)) for i in (5, 50))
    assert 5 < much / little < 10


@pytest.mark.parametrize("method", ["dense_sparse", "double_sparse", "monarch"])
def test_metrics_of_outputs_cost(method: str):
    with_one, without = (fit_operations(job(WIDE, one), FREE, method, Effort()) for one in (True, False))
    assert with_one > without


def test_steps_of_pruning_share_their_eigenvectors():
    wide, once = job(WIDE), EIGEN * WIDE[1] ** 3
    little, much = (fit_operations(wide, FREE, "pruning", Effort(i, i)) for i in (5, 50))
    assert little > once
    assert much - little < 45 * once


def test_sparse_dictionaries_take_longer():
    dense, sparse = (fit_operations(job(WIDE), FREE, method, Effort()) for method in ("dense_sparse", "double_sparse"))
    assert 3 < sparse / dense < 100


def test_the_rate_is_of_the_processors_time(monkeypatch: pytest.MonkeyPatch):
    """On a clock of the processor on which a product takes a hundredth of a second, whatever the wall's says."""
    clock = iter(range(10**9))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setattr(estimate, "thread_time", lambda: next(clock) / 100)
    products = round(100 * PROBE_SECONDS) - 1
    assert measure_matmul_rate() == pytest.approx(2 * PROBE_SIDE**3 * products / PROBE_SECONDS)
