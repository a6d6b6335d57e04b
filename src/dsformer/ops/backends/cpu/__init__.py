"""Native kernels for CPUs: ``available()``, ``describe()`` and plans, which hold one packed block each."""

from dsformer.ops.backends.cpu.library import available as available
from dsformer.ops.backends.cpu.library import describe as describe
from dsformer.ops.backends.cpu.plan import CpuPlan as CpuPlan
from dsformer.ops.backends.cpu.tuning import tuned as tuned
