"""The classes that the labels of a file name, however a program wrote them there: 1, "1" and 1.0 are one class."""

import ast
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from dsformer.data.supervised.targets import listed
from dsformer.errors import InputError

# How programs write a value that is not there, in files of text.
_MISSING = {"nan", "<na>", "nat"}
_WHOLE = re.compile(r"(-?(?:0|[1-9]\d*))\.0+")
_TRUTH = {"true", "false"}


def check_label(value: Any, place: str) -> None:
    """Make sure that a cell holds one label.

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
    """What all ways to write a class have in common: whole numbers without a fraction, truth values in small letters,
    and no space around."""
    if isinstance(value, int | float) and not isinstance(value, bool) and float(value).is_integer():
        return str(int(value))
    text = str(value).strip()
    if text.casefold() in _TRUTH:
        return text.casefold()
    whole = _WHOLE.fullmatch(text)
    return whole[1] if whole else text


def class_names(values: Iterable[Any]) -> tuple[str, ...]:
    """The different classes, sorted (by number if all are whole numbers): as they are written where that is always the
    same, else by their keys."""
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
    """Finds the class that a label names."""

    def __init__(self, names: Sequence[str]):
        self.names = names
        self._exact = {class_key(name): index for index, name in enumerate(names)}
        alike = Counter(key.casefold() for key in self._exact)
        self._folded = {key.casefold(): i for key, i in self._exact.items() if alike[key.casefold()] == 1}

    def find(self, value: Any) -> int | None:
        """The class's index, whatever the case of its letters where only one has that name; None: there is none."""
        key = class_key(value)
        return self._exact.get(key, self._folded.get(key.casefold()))

    def index(self, value: Any, place: str) -> int:
        """The same of a label at a place. Raises InputError: no class has that name."""
        found = self.find(value)
        if found is None:
            raise InputError(f"{place}: the label {str(value)!r} is not one of: {listed(self.names)}")
        return found


def _is_list(text: str) -> bool:
    text = text.strip()
    if not (text.startswith("[") and text.endswith("]")):
        return False
    try:
        return isinstance(ast.literal_eval(text), list)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False
