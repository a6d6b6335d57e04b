"""Many compressions of one model, on the same rails: methods by ratios by tasks by seeds."""

from dsformer.sweep.grid import Cell as Cell
from dsformer.sweep.grid import Grid as Grid
from dsformer.sweep.grid import Variant as Variant
from dsformer.sweep.run import sweep as sweep
