"""Supervised text tasks: their examples, the features a model is trained on, and the official scores."""

from dsformer.tasks.supervised.collators import Collator as Collator
from dsformer.tasks.supervised.collators import collator as collator
from dsformer.tasks.supervised.encoded import Encoded as Encoded
from dsformer.tasks.supervised.features import encode as encode
from dsformer.tasks.supervised.files import Columns as Columns
from dsformer.tasks.supervised.metrics import score as score
from dsformer.tasks.supervised.registry import TASK_NAMES as TASK_NAMES
from dsformer.tasks.supervised.registry import load_task as load_task
from dsformer.tasks.supervised.task import Examples as Examples
from dsformer.tasks.supervised.task import Kind as Kind
from dsformer.tasks.supervised.task import SupervisedTask as SupervisedTask
from dsformer.tasks.supervised.task import texts_of as texts_of

__all__ = [
    "TASK_NAMES",
    "Collator",
    "Columns",
    "Encoded",
    "Examples",
    "Kind",
    "SupervisedTask",
    "collator",
    "encode",
    "load_task",
    "score",
    "texts_of",
]
