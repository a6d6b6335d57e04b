"""Evaluation of models before and after compression, on sentence embeddings or with a task's head.

The package may import ``factorization``, ``vocabulary``, ``calibration``, ``models``, ``data`` and the packages below
these. ``registry`` knows the tasks by name and runs them. A task for sentence encoders embeds texts by ``encoder`` and
returns a ``Score`` (``score``): ``banking77``, ``similarity``, ``retrieval``, ``fidelity``, and those of MTEB in
``mteb_tasks``. A model with a task's head is opened by ``supervised`` and scored by ``scoring``. Start reading with
``registry.py``, then ``score.py``.
"""

from dsformer.evaluation.encoder import Encoder as Encoder
from dsformer.evaluation.encoder import encode as encode
from dsformer.evaluation.encoder import load_encoder as load_encoder
from dsformer.evaluation.registry import TASKS as TASKS
from dsformer.evaluation.registry import evaluate as evaluate
from dsformer.evaluation.score import Inputs as Inputs
from dsformer.evaluation.score import Score as Score
from dsformer.evaluation.score import Task as Task

__all__ = ["TASKS", "Encoder", "Inputs", "Score", "Task", "encode", "evaluate", "load_encoder"]
