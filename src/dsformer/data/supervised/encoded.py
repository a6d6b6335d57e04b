"""Tokenized examples, and what is needed to map predictions back to their texts."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

import numpy as np


@dataclass(frozen=True, eq=False)
class EncodedExamples(Sequence[dict[str, Any]]):
    """The features a model is trained on or scored on; each item is a dict of plain lists and numbers.

    Attributes:
        columns: by the name of the model's argument one value per feature: an array of one integer per token, or a
            number.
        alignment: what the model does not see, one value per feature. For token classification "words": for every token
            the index of the word whose first token it is, else -1. For question answering "example": the index of the
            example that the window belongs to; "begins" and "ends": for every token its characters in the context, -1
            outside of the context; "null": the index of the token that stands for "no answer".
    """

    columns: Mapping[str, Sequence[Any]]
    alignment: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.columns["input_ids"])

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, index: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        values = ((name, column[index]) for name, column in self.columns.items())
        return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in values}


def compact(rows: Iterable[Iterable[int]]) -> list[np.ndarray]:
    """Convert rows of integers to arrays: a list of Python integers is nine times as large."""
    return [np.asarray(row, np.int32) for row in rows]
