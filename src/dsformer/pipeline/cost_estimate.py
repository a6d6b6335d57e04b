"""How long the fits of a plan will take here, and how much memory: what ``--dry-run`` promises.

The dominant operations are counted from the shapes (see factorization/cost.py) and divided by the rate of matrix
products, which is measured. All-MiniLM's blocks take 0.75 to 0.9 times what is predicted; how far the search walks is
not known before.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from time import thread_time

import torch

from dsformer.allocation.plan import Job
from dsformer.factorization.dense_sparse import Effort
from dsformer.factorization.flops import EIGEN, alternation, polish
from dsformer.factorization.methods import METHODS
from dsformer.factorization.search import Family, rank_within
from dsformer.factorization.target import CHUNK_ROWS, SAMPLE_ROWS
from dsformer.format.pattern import Pattern
from dsformer.format.spec import FormSpec
from dsformer.pipeline.prepare import Prepared
from dsformer.utils.threads import one_thread_each

# Shapes screened in the family that is searched (the others are looked at once); measured on MiniLM.
SCREENED = 4.5
PROBE_SIDE, PROBE_SECONDS = 512, 0.05


@dataclass(frozen=True)
class Estimate:
    """Predicted seconds of all fits and peak memory of the process, for a number of blocks fitted side by side."""

    seconds: float
    peak_bytes: int
    workers: int


def estimate(prepared: Prepared) -> Estimate:
    """Time and memory of ``factorize`` on this machine. Takes about 50 ms."""
    jobs, recipe = prepared.plan.jobs, prepared.recipe
    pattern, effort = Pattern.parse(recipe.pattern), recipe.effort.as_effort()
    workers, rate = torch.get_num_threads(), matmul_rate()
    costs = [job_operations(job, pattern, recipe.method, effort) / rate for job in jobs]
    sets = sorted((working_set(job, pattern, recipe.method) for job in jobs), reverse=True)
    peak = resident_bytes(prepared) + sum(sets[:workers])
    return Estimate(max(sum(costs) / workers, max(costs)), peak, workers)


def matmul_rate() -> float:
    """Operations a second of single-threaded products, for each of several running at once.

    Seconds are the processor's: on a machine that is busy just now the wall's would make minutes of work an hour.
    """

    def probe(_: int) -> float:
        a = torch.randn(PROBE_SIDE, PROBE_SIDE)
        count, start = 0, thread_time()
        while (elapsed := thread_time() - start) < PROBE_SECONDS:
            a @ a
            count += 1
        return 2 * PROBE_SIDE**3 * count / elapsed

    workers = torch.get_num_threads()
    with one_thread_each() as pool:
        return sum(pool.map(probe, range(workers))) / workers


def job_operations(job: Job, pattern: Pattern, method: str, effort: Effort) -> float:
    """Operations of one block's search and fit."""
    rows, columns = job.block.shape
    total, curved = _whitening(rows, columns), job.metric.curved
    if counted := METHODS[method].operations:
        return total + counted(job.block.shape, job.block.members, job.budget, effort, curved)
    # The eigenvectors that fits start from and low rank is made of, and those of a metric of outputs.
    total += EIGEN * (columns**3 + (rows**3 if curved else 0))
    for position, spec in enumerate(_starts(job, pattern, method)):
        if job.row_weights is not None:
            total += _table_operations(spec, effort)
            continue
        screens = SCREENED if position == 0 else 1
        total += screens * effort.screening * alternation(spec, curved)
        if position == 0:
            total += effort.final(spec, curved) * alternation(spec, curved) + polish(spec, curved)
            # The eigenvectors that every step of pruning takes.
            total += EIGEN * columns**3 if curved and not spec.atoms else 0
    return total


def working_set(job: Job, pattern: Pattern, method: str) -> int:
    """Bytes alive at the worst moment of a block's search."""
    rows, columns = job.block.shape
    table = job.row_weights is not None
    own = 0
    for spec in _starts(job, pattern, method):
        units = min(spec.units, CHUNK_ROWS) if table else spec.units
        positions = spec.core + spec.candidates
        coupled = 4 * units**2 if spec.orientation == "output" or job.metric.curved else 0
        # A table's codes are written out densely once, to measure their error.
        whole = 2 * rows * (columns + positions) if table else 0
        own = max(own, coupled + whole + 8 * units * positions + 3 * positions**2)
    return 4 * (3 * rows * columns + 6 * columns**2 + own)


def resident_bytes(prepared: Prepared) -> int:
    """Memory of this process now (the calibrated model in it); where that cannot be asked, of model and metrics."""
    statm = Path("/proc/self/statm")
    if statm.is_file():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    model = sum(tensor.numel() * tensor.element_size() for tensor in prepared.source.model.state_dict().values())
    return model + sum(16 * job.block.shape[1] ** 2 for job in prepared.plan.jobs)


def _starts(job: Job, pattern: Pattern, method: str) -> list[FormSpec]:
    """The shape at which each family's search begins."""
    shape = job.block.shape
    rank = rank_within(shape, job.budget)
    specs = []
    families = METHODS[method].families
    for family in families(shape, pattern, len(job.block.members) > 1) if families else ():
        found = _start(family, job, rank)
        if found is not None:
            specs.append(found)
    return specs


def _start(family: Family, job: Job, rank: int) -> FormSpec | None:
    specs = family.specs(job.block.shape, job.budget, rank)
    if not specs:
        return None
    return specs[min(specs, key=lambda multiple: abs(multiple - family.start))]


def _whitening(rows: int, columns: int) -> float:
    """Coordinates of the metric, their inverse, and the weight in them."""
    return 4.0 * rows * columns**2 + 3 * columns**3


def _table_operations(spec: FormSpec, effort: Effort) -> float:
    """A long table: search and fit on a sample of rows, then codes for all of them. Its families are close rivals."""
    group = spec.pattern.group
    sample = replace(spec, out_features=min(SAMPLE_ROWS, spec.units) // group * group)
    learning = (SCREENED * effort.screening + effort.final(spec, False)) * alternation(sample) + polish(sample)
    return learning + effort.screening * alternation(spec) + polish(spec)
