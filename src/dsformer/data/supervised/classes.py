"""Classes by the labels of a file, however a program wrote them: 1, "1" and 1.0 are one class."""

import ast
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from dsformer.data.supervised.targets import listed
from dsformer.errors import InputError

# How programs write a missing value in text files.
_MISSING = {"nan", "<na>", "nat"}
_WHOLE = re.compile(r"(-?(?:0|[1-9]\d*))\.0+")
_TRUTH = {"true", "false"}


def check_label(value: Any, place: str) -> None:
    """Check that a cell holds one label.

    Raises:
        InputError: it is empty, not a number (NaN), infinite, or holds several values.
    """
    if value is None or not str(value).strip():
        raise InputError(f"{place}: the label is empty")
    if isinstance(value, list | tuple | dict | set) or (isinstance(value, str) and _is_list(value)):
        raise InputError(f"{place}: the label must be one value, not {value!r}: one class a text")
    if isinstance(value, float | Decimal) and math.isinf(value):
        raise InputError(f"{place}: the label is infinite")
    if str(value).strip().casefold() in _MISSING:
        raise InputError(f"{place}: the label is missing ({value}); fill it in, or leave the row out")


def class_key(value: Any) -> str:
    """Return what all spellings of a class have in common.

    Integers have no fraction, truth values are in lower case, and surrounding space is removed.
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and float(value).is_integer():
        return str(int(value))
    text = str(value).strip()
    if text.casefold() in _TRUTH:
        return text.casefold()
    whole = _WHOLE.fullmatch(text)
    return whole[1] if whole else text


def class_names(values: Iterable[Any]) -> tuple[str, ...]:
    """Return the names of the different classes, sorted; by number if all are integers.

    A class is named as it is written if that is always the same, else by its key.
    """
    written: dict[str, set[str]] = {}
    for value in values:
        written.setdefault(class_key(value), set()).add(str(value).strip())
    names = {key: next(iter(forms)) if len(forms) == 1 else key for key, forms in written.items()}
    try:
        keys = sorted(names, key=lambda key: (int(key), key))
    except ValueError:
        keys = sorted(names)
    return tuple(names[key] for key in keys)


class ClassIndex:
    """Index of the classes by their names."""

    def __init__(self, names: Sequence[str]):
        self.names = names
        self._exact = {class_key(name): index for index, name in enumerate(names)}
        alike = Counter(key.casefold() for key in self._exact)
        self._folded = {key.casefold(): i for key, i in self._exact.items() if alike[key.casefold()] == 1}

    def find(self, value: Any) -> int | None:
        """Find the index of the class that a label names; None if there is none.

        The case of letters is ignored if only one class has that name.
        """
        key = class_key(value)
        return self._exact.get(key, self._folded.get(key.casefold()))

    def index(self, value: Any, place: str) -> int:
        """Find the index of the class that a label names.

        Raises:
            InputError: no class has that name; the message names the place.
        """
        found = self.find(value)
        if found is None:
            raise InputError(f"{place}: the label {str(value)!r} is not one of: {listed(self.names)}")
        return found


def _is_list(text: str) -> bool:
    """Return whether a text is a Python list."""
    text = text.strip()
    if not (text.startswith("[") and text.endswith("]")):
        return False
    try:
        return isinstance(ast.literal_eval(text), list)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False
