"""Benchmarks: latency and throughput of models and engines, measured in alternation on the same machine.

May import ``pipeline``, ``report`` and all packages below them; it needs ``models``, ``data``, ``ops`` and ``utils``
only. ``engines`` opens a model in one of the ``WAYS`` to run it; the engines themselves are in ``runtimes``. ``texts``
makes batches of real text. ``run`` measures all contenders over batch sizes, lengths and thread counts, by the
alternating rounds of ``timing``, and ``agreement`` compares what they say with PyTorch. ``startup`` times programs that
embed one sentence, with ``programs``. ``plot`` draws the speed-ups. Start reading at ``run.measure``.
"""

from dsformer.benchmarking.engines import WAYS as WAYS
from dsformer.benchmarking.engines import Contender as Contender
from dsformer.benchmarking.engines import open_contender as open_contender
from dsformer.benchmarking.engines import open_contenders as open_contenders
from dsformer.benchmarking.run import Measurement as Measurement
from dsformer.benchmarking.run import benchmark as benchmark
from dsformer.benchmarking.run import measure as measure
from dsformer.benchmarking.texts import Setting as Setting

__all__ = ["WAYS", "Contender", "Measurement", "Setting", "benchmark", "measure", "open_contender", "open_contenders"]
