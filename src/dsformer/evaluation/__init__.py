"""Measuring sentence encoders before and after compression."""

from dsformer.evaluation.encoder import Encoder as Encoder
from dsformer.evaluation.encoder import encode as encode
from dsformer.evaluation.encoder import load_encoder as load_encoder
from dsformer.evaluation.registry import TASKS as TASKS
from dsformer.evaluation.registry import evaluate as evaluate
from dsformer.evaluation.score import Inputs as Inputs
from dsformer.evaluation.score import Score as Score
from dsformer.evaluation.score import Task as Task

__all__ = ["TASKS", "Encoder", "Inputs", "Score", "Task", "encode", "evaluate", "load_encoder"]
