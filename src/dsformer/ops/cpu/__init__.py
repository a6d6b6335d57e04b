"""Native CPU kernels, called through ctypes.

This package imports ``format``, ``utils`` and ``errors`` only. ``library.py`` finds and loads the library, with the
OpenMP runtime of PyTorch (``dsformer_runtime.native.threads``): ``available()`` and ``describe()`` say whether and how
it runs. ``plan.py`` packs a block (``CpuPlan``), ``chain.py`` runs a sparse dictionary as two plans, and ``tuning.py``
measures the fastest settings. ``table.py`` reads rows of an embedding without packing it. ``pages.py`` asks for large
memory pages. Start with ``plan.py``; the C interface is documented in ``runtime/csrc/include/dsformer.h``.
"""

from dsformer.ops.cpu.chain import ChainedPlan as ChainedPlan
from dsformer.ops.cpu.chain import make_cpu_plan as make_cpu_plan
from dsformer.ops.cpu.library import available as available
from dsformer.ops.cpu.library import describe as describe
from dsformer.ops.cpu.plan import CpuPlan as CpuPlan
from dsformer.ops.cpu.table import CpuTable as CpuTable
from dsformer.ops.cpu.tuning import tune as tune
