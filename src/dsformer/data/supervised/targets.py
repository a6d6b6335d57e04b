"""Targets read out of cells; errors name the place of a wrong one."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dsformer.data.supervised.task import Examples
from dsformer.errors import InputError

_SHOWN = 20


def class_index(cell: str, labels: Sequence[str], place: str) -> int:
    """Return the index of the class that a cell names; some files of GLUE hold the index itself.

    Args:
        cell: the contents of the cell.
        labels: the names of the classes.
        place: the place of the cell, for the message.

    Raises:
        InputError: the cell holds neither a name nor an index.
    """
    if cell in labels:
        return labels.index(cell)
    if cell.isdecimal() and int(cell) < len(labels):
        return int(cell)
    if not cell.strip():
        raise InputError(f"{place}: the label is empty; expected one of: {listed(labels)}")
    raise InputError(f"{place}: the label {cell!r} is not one of: {listed(labels)}")


def number(cell: Any, place: str) -> float:
    """Read a target of a regression.

    Raises:
        InputError: the cell does not hold a finite number.
    """
    value = parsed(cell)
    if value is None:
        raise InputError(f"{place}: the label must be a number, not {cell!r}")
    return value


def parsed(cell: Any) -> float | None:
    """Return the finite number that a cell holds, or None."""
    try:
        value = float(cell)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def listed(labels: Sequence[str]) -> str:
    """List the labels for a message, truncated if there are many."""
    more = f" … ({len(labels)} in all)" if len(labels) > _SHOWN else ""
    return ", ".join(map(repr, labels[:_SHOWN])) + more


def filled(path: Path, examples: Examples) -> Examples:
    """Return the examples, if there are any.

    Raises:
        InputError: the file held none.
    """
    if not len(examples):
        raise InputError(f"{path} holds no rows")
    return examples
