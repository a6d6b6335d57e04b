"""Calibration: the statistics of a model's layers that the factorization needs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from torch import Tensor, nn

from dsformer.calibration.cache import read_or_measure
from dsformer.calibration.kfac import collect_kfac_factors, uses_kfac
from dsformer.calibration.second_moments import Statistics, collect_second_moments, count_real_tokens, require_finite
from dsformer.calibration.trace import Block
from dsformer.errors import InputError


def calibrate(
    model: nn.Module,
    batches: Sequence[Mapping[str, Tensor]],
    blocks: Sequence[Block],
    tables: Sequence[Block] = (),
    weighting: str = "even",
    tick: Callable[[int], None] = lambda done: None,
    cache: Path | None = None,
) -> Statistics:
    """Run the batches through the model and measure its blocks, or read from the cache what was measured before.

    Args:
        model: dense, in evaluation mode.
        batches: the calibration text.
        blocks: linear blocks, whose inputs are measured.
        tables: embedding tables whose lookups are counted.
        weighting: ``even``, ``influence`` or ``auto``, as in the recipe.
        tick: called with the number of batches done.
        cache: directory that keeps the measurements; made where it is missing. None: nothing is kept.

    Raises:
        InputError: a layer's inputs are NaN or Inf, or ``influence`` is asked for and the model passes no gradients.
    """

    def measure() -> Statistics:
        return _measured(model, batches, blocks, tables, weighting, tick)

    return (
        measure() if cache is None else read_or_measure(cache, model, batches, [*blocks, *tables], weighting, measure)
    )


def _measured(
    model: nn.Module,
    batches: Sequence[Mapping[str, Tensor]],
    blocks: Sequence[Block],
    tables: Sequence[Block],
    weighting: str,
    tick: Callable[[int], None],
) -> Statistics:
    def ticking() -> Iterator[Mapping[str, Tensor]]:
        for i, batch in enumerate(batches):
            tick(i)
            yield batch
        tick(len(batches))

    if not uses_kfac(model, batches[-1], weighting):
        return collect_second_moments(model, ticking(), blocks, tables)
    if tables:
        seen = collect_second_moments(model, batches, [], tables)
    else:
        seen = Statistics(tokens=sum(count_real_tokens(batch) for batch in batches))
    try:
        seen.grams, seen.output_grams = collect_kfac_factors(model, ticking(), blocks)
    except RuntimeError as error:
        # Some models (RWKV) change tensors in place that their own gradients need.
        if "inplace operation" not in str(error):
            raise
        if weighting == "influence":
            raise InputError("calibration.weighting: no gradients get through this model; use even") from error
        return collect_second_moments(model, ticking(), blocks, tables)
    require_finite(seen.grams)
    return seen
