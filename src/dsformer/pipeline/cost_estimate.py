"""Estimate of the time and the memory of a plan's fits on this machine, for ``--dry-run``.

The dominant operations are counted from the shapes (see factorization/flops.py) and divided by the measured rate of
matrix products. All-MiniLM's blocks take 0.75 to 0.9 times the predicted time. The number of steps of the search is
not known beforehand.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from time import thread_time

import torch

from dsformer.allocation.planned_block import PlannedBlock
from dsformer.factorization.dense_sparse import Effort
from dsformer.factorization.flops import EIGEN, count_alternation_flops, count_polish_flops
from dsformer.factorization.methods import METHODS
from dsformer.factorization.search import Family, rank_within
from dsformer.factorization.target import CHUNK_ROWS, SAMPLE_ROWS
from dsformer.format.pattern import Pattern
from dsformer.format.spec import FormSpec
from dsformer.pipeline.state import State, have
from dsformer.utils.threads import single_threaded_pool

# Shapes screened in the family that is searched (each other family is screened once); measured on MiniLM.
SCREENED = 4.5
PROBE_SIDE, PROBE_SECONDS = 512, 0.05


@dataclass(frozen=True)
class CostEstimate:
    """Predicted seconds of all fits and peak bytes of the process, with ``workers`` blocks fitted in parallel."""

    seconds: float
    peak_bytes: int
    workers: int


def estimate_cost(prepared: State) -> CostEstimate:
    """Estimate time and memory of ``factorize`` on this machine; takes about 50 ms."""
    blocks, recipe = have(prepared.plan).blocks, prepared.recipe
    pattern, effort = Pattern.parse(recipe.pattern), recipe.effort.as_effort()
    workers, rate = torch.get_num_threads(), measure_matmul_rate()
    costs = [fit_operations(planned, pattern, recipe.method, effort) / rate for planned in blocks]
    sets = sorted((count_working_set(planned, pattern, recipe.method) for planned in blocks), reverse=True)
    peak = resident_bytes(prepared) + sum(sets[:workers])
    return CostEstimate(max(sum(costs) / workers, max(costs)), peak, workers)


def measure_matmul_rate() -> float:
    """Measure the operations a second of single-threaded matrix products, with one on every thread at once.

    Seconds are processor time: on a busy machine, wall-clock time would predict an hour for minutes of work.
    """

    def probe(_: int) -> float:
        a = torch.randn(PROBE_SIDE, PROBE_SIDE)
        count, start = 0, thread_time()
        while (elapsed := thread_time() - start) < PROBE_SECONDS:
            a @ a
            count += 1
        return 2 * PROBE_SIDE**3 * count / elapsed

    workers = torch.get_num_threads()
    with single_threaded_pool() as pool:
        return sum(pool.map(probe, range(workers))) / workers


def fit_operations(planned: PlannedBlock, pattern: Pattern, method: str, effort: Effort) -> float:
    """Count the operations of one block's search and fit.

    Args:
        planned: the block.
        pattern: the recipe's.
        method: name of the recipe's method.
        effort: of the search.
    """
    rows, columns = planned.block.shape
    total, curved = _whitening(rows, columns), planned.metric.curved
    if counted := METHODS[method].operations:
        return total + counted(planned.block.shape, planned.block.members, planned.budget, effort, curved)
    # The eigenvectors from which fits start and low rank is computed, and those of a metric of outputs.
    total += EIGEN * (columns**3 + (rows**3 if curved else 0))
    for position, spec in enumerate(_starts(planned, pattern, method)):
        if planned.row_weights is not None:
            total += _table_operations(spec, effort)
            continue
        screens = SCREENED if position == 0 else 1
        total += screens * effort.screening * count_alternation_flops(spec, curved)
        if position == 0:
            total += effort.final(spec, curved) * count_alternation_flops(spec, curved) + count_polish_flops(
                spec, curved
            )
            # The eigenvectors that every pruning step computes.
            total += EIGEN * columns**3 if curved and not spec.atoms else 0
    return total


def count_working_set(planned: PlannedBlock, pattern: Pattern, method: str) -> int:
    """Count the bytes allocated at the peak of a block's search. Arguments as of :func:`fit_operations`."""
    rows, columns = planned.block.shape
    table = planned.row_weights is not None
    own = 0
    for spec in _starts(planned, pattern, method):
        units = min(spec.units, CHUNK_ROWS) if table else spec.units
        positions = spec.core + spec.candidates
        coupled = 4 * units**2 if spec.orientation == "output" or planned.metric.curved else 0
        # A table's codes are expanded to a dense matrix once, to measure their error.
        whole = 2 * rows * (columns + positions) if table else 0
        own = max(own, coupled + whole + 8 * units * positions + 3 * positions**2)
    return 4 * (3 * rows * columns + 6 * columns**2 + own)


def resident_bytes(prepared: State) -> int:
    """Return this process's resident memory (with the calibrated model), or else the bytes of model and metrics."""
    statm = Path("/proc/self/statm")
    if statm.is_file():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    model = sum(tensor.numel() * tensor.element_size() for tensor in have(prepared.source).model.state_dict().values())
    return model + sum(16 * planned.block.shape[1] ** 2 for planned in have(prepared.plan).blocks)


def _starts(planned: PlannedBlock, pattern: Pattern, method: str) -> list[FormSpec]:
    """Return the spec at which each family's search starts."""
    shape = planned.block.shape
    rank = rank_within(shape, planned.budget)
    specs = []
    families = METHODS[method].families
    for family in families(shape, pattern, len(planned.block.members) > 1) if families else ():
        found = _start(family, planned, rank)
        if found is not None:
            specs.append(found)
    return specs


def _start(family: Family, planned: PlannedBlock, rank: int) -> FormSpec | None:
    specs = family.specs(planned.block.shape, planned.budget, rank)
    if not specs:
        return None
    return specs[min(specs, key=lambda multiple: abs(multiple - family.start))]


def _whitening(rows: int, columns: int) -> float:
    """Count the operations of a metric's coordinates, of their inverse, and of the weight in them."""
    return 4.0 * rows * columns**2 + 3 * columns**3


def _table_operations(spec: FormSpec, effort: Effort) -> float:
    """Count the operations of a long table: search and fit on a sample of rows, then codes for all of them.

    The families of tables are close rivals, so each is searched in full.
    """
    group = spec.pattern.group
    sample = replace(spec, out_features=min(SAMPLE_ROWS, spec.units) // group * group)
    learning = (SCREENED * effort.screening + effort.final(spec, False)) * count_alternation_flops(
        sample
    ) + count_polish_flops(sample)
    return learning + effort.screening * count_alternation_flops(spec) + count_polish_flops(spec)
