"""Names of the outputs of a classifier, and functions of its outputs."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dsformer_runtime.errors import RuntimeInputError
from dsformer_runtime.model import Floats
from dsformer_runtime.reference import sigmoid, softmax

FUNCTIONS = {"sigmoid": sigmoid, "softmax": softmax, "none": lambda outputs: np.asarray(outputs)}


def read_labels(config: Mapping[str, Any], count: int) -> list[str]:
    """Return the names of ``count`` outputs, ``LABEL_0`` and so on where the configuration has none.

    Raises:
        RuntimeInputError: it has names that are no texts, or fewer than there are outputs.
    """
    names = config.get("id2label")
    if names is None:
        return [f"LABEL_{number}" for number in range(count)]
    found = [names.get(str(number)) for number in range(count)] if isinstance(names, dict) else [None]
    if not all(isinstance(name, str) for name in found):
        raise RuntimeInputError(f"config.json: id2label does not name all of {count} labels")
    return [str(name) for name in found]


def default_function(config: Mapping[str, Any], count: int) -> str:
    """Return which of ``FUNCTIONS`` a pipeline applies to ``count`` outputs."""
    kind = config.get("problem_type")
    if kind == "regression":
        return "none"
    return "sigmoid" if kind == "multi_label_classification" or count == 1 else "softmax"


def apply_function(name: str, outputs: Floats) -> Floats:
    """Apply one of ``FUNCTIONS`` to outputs (rows, labels).

    Raises:
        RuntimeInputError: there is no such function.
    """
    if not isinstance(name, str) or name.lower() not in FUNCTIONS:
        raise RuntimeInputError(f"function_to_apply: {name!r:.40} is not one of {', '.join(FUNCTIONS)}")
    return FUNCTIONS[name.lower()](outputs)
