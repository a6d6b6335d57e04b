"""Supervised text tasks: their examples, the features a model is trained on, and the official scores."""

from dsformer.data.supervised.collators import Collator as Collator
from dsformer.data.supervised.collators import collator as collator
from dsformer.data.supervised.encoded import EncodedExamples as EncodedExamples
from dsformer.data.supervised.features import encode as encode
from dsformer.data.supervised.files import Columns as Columns
from dsformer.data.supervised.metrics import score as score
from dsformer.data.supervised.registry import TASK_NAMES as TASK_NAMES
from dsformer.data.supervised.registry import load_task as load_task
from dsformer.data.supervised.task import Examples as Examples
from dsformer.data.supervised.task import SupervisedTask as SupervisedTask
from dsformer.data.supervised.task import TaskKind as TaskKind
from dsformer.data.supervised.task import list_texts as list_texts

__all__ = [
    "TASK_NAMES",
    "Collator",
    "Columns",
    "EncodedExamples",
    "Examples",
    "SupervisedTask",
    "TaskKind",
    "collator",
    "encode",
    "load_task",
    "score",
    "list_texts",
]
