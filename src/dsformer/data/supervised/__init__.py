"""Supervised text tasks: their examples, the features a model is trained on, and the official scores.

The package may import ``data`` and what ``data`` may import. ``task`` defines a task and its examples. ``registry``
loads one by name, from a folder of the user's, the package or the hub: ``glue``, ``squad``, ``wnut17``, ``wikitext``,
``sentences``, or the user's own file by ``files`` and ``classes``. ``features`` tokenizes examples to ``encoded`` ones,
and ``collators`` makes batches of them. ``metrics`` scores predictions, with ``answers``, ``spans`` and
``squad_metric``, and ``report`` describes them in full. Start reading with ``task.py``, then ``registry.py``.
"""

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
    "list_texts",
    "load_task",
    "score",
]
