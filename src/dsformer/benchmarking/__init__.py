"""Benchmarks: latency and throughput of models and engines, measured in alternation on the same machine.

May import ``pipeline``, ``report`` and all packages below them; it needs ``models``, ``data``, ``ops`` and ``utils``
only. ``engines`` opens a model in one of the ``WAYS`` to run it (PyTorch eager, compiled, bfloat16) and ``runtimes``
exports dense models to ONNX Runtime and OpenVINO. ``run`` measures all contenders over batch sizes, lengths and thread
counts, by the alternating rounds of ``timing``. ``plot`` draws the speed-ups. Start reading at ``run.measure``.
"""

from dsformer.benchmarking.engines import WAYS as WAYS
from dsformer.benchmarking.engines import Contender as Contender
from dsformer.benchmarking.engines import open_contender as open_contender
from dsformer.benchmarking.engines import open_contenders as open_contenders
from dsformer.benchmarking.run import Measurement as Measurement
from dsformer.benchmarking.run import Setting as Setting
from dsformer.benchmarking.run import benchmark as benchmark
from dsformer.benchmarking.run import measure as measure

__all__ = ["WAYS", "Contender", "Measurement", "Setting", "benchmark", "measure", "open_contender", "open_contenders"]
