"""Native kernels for CPUs: ``available()``, ``describe()`` plans, which hold one packed block each, and tables."""

from dsformer.ops.backends.cpu.chain import ChainedPlan as ChainedPlan
from dsformer.ops.backends.cpu.chain import plan_of as plan_of
from dsformer.ops.backends.cpu.library import available as available
from dsformer.ops.backends.cpu.library import describe as describe
from dsformer.ops.backends.cpu.plan import CpuPlan as CpuPlan
from dsformer.ops.backends.cpu.table import CpuTable as CpuTable
from dsformer.ops.backends.cpu.tuning import tuned as tuned
