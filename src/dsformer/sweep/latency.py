"""Latency of a sweep's models, all measured in alternation in one run."""

from collections.abc import Sequence

from dsformer.benchmarking import measure, open_contenders
from dsformer.benchmarking.timing import Ratio
from dsformer.models.remote_code import trusting

BATCH, LENGTH = 8, 64


def measured(dense: str, models: Sequence[str], seconds: float, trust_remote_code: bool = False) -> list[Ratio]:
    """Measure the speed-up of every model over the dense one, round by round: median and quartiles.

    Args:
        dense: directory or hub name of the dense model.
        models: directories of the compressed models.
        seconds: for each model.
        trust_remote_code: run Python code that comes with the models.
    """
    with trusting(trust_remote_code):
        contenders = open_contenders([dense, *models], ["eager"])
    found = measure(contenders, (BATCH,), (LENGTH,), seconds=seconds * len(contenders), compare=0)
    return [one.speedup for one in found[1:]]
