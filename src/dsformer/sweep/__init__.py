"""Sweeps: many compressions of one model under equal conditions, over methods, ratios, tasks and seeds.

May import ``benchmarking``, ``pipeline``, ``report`` and all packages below them; only ``cli`` imports it. ``grid``
holds ``Grid``, the product of all settings, and ``Cell``, one compression with a key and a recipe. ``run`` finds the
cells that are not finished, ``workers`` runs each in its own process, and ``cell`` is what such a process does:
compress, score, return a row. ``latency`` times all models together at the end. ``lines`` averages rows over seeds and
``page`` renders them. Start reading at ``run.sweep``.
"""

from dsformer.sweep.grid import Cell as Cell
from dsformer.sweep.grid import Grid as Grid
from dsformer.sweep.grid import Variant as Variant
from dsformer.sweep.run import sweep as sweep
