"""Native kernels for CPUs: ``available()``, ``describe()`` plans, which hold one packed block each, and tables."""

from dsformer.ops.cpu.chain import ChainedPlan as ChainedPlan
from dsformer.ops.cpu.chain import make_cpu_plan as make_cpu_plan
from dsformer.ops.cpu.library import available as available
from dsformer.ops.cpu.library import describe as describe
from dsformer.ops.cpu.plan import CpuPlan as CpuPlan
from dsformer.ops.cpu.table import CpuTable as CpuTable
from dsformer.ops.cpu.tuning import tune as tune
