"""Real text through the model: which layers share an input, and what those inputs look like."""

from dsformer.calibration.blocks import Block, Tracing, trace
from dsformer.calibration.calibrate import calibrate
from dsformer.calibration.grams import Statistics, Text, batches, collect
from dsformer.calibration.inputs import model_batches
from dsformer.calibration.neurons import Exchange, interchangeable, reorder
from dsformer.calibration.sensitivity import sensitivities

__all__ = [
    "Block",
    "Exchange",
    "Statistics",
    "Text",
    "Tracing",
    "batches",
    "calibrate",
    "collect",
    "interchangeable",
    "model_batches",
    "reorder",
    "sensitivities",
    "trace",
]
