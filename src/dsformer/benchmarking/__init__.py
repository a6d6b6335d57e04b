"""How fast models are, against each other on the same machine at the same time."""

from dsformer.benchmarking.engines import WAYS as WAYS
from dsformer.benchmarking.engines import Contender as Contender
from dsformer.benchmarking.engines import open_contender as open_contender
from dsformer.benchmarking.engines import open_contenders as open_contenders
from dsformer.benchmarking.run import Measurement as Measurement
from dsformer.benchmarking.run import Setting as Setting
from dsformer.benchmarking.run import benchmark as benchmark
from dsformer.benchmarking.run import measure as measure

__all__ = ["WAYS", "Contender", "Measurement", "Setting", "benchmark", "measure", "open_contender", "open_contenders"]
