"""Rows of a benchmark, kept in a file of JSON lines: an interrupted run goes on where it stopped."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dsformer.utils.atomic_io import Row, add_row, read_rows


class Finished:
    """The rows there are.

    Args:
        path: of the file, written with the first row.
        key: the field that tells rows apart.
    """

    def __init__(self, path: Path, key: str):
        self.path, self.key = path, key
        self.rows = read_rows(path)

    def get(self, name: Any, measure: Callable[[], Row]) -> Row:
        """The row of a name, measured and printed if it is not there yet."""
        for row in self.rows:
            if row[self.key] == name:
                return row
        row = {self.key: name} | measure()
        add_row(self.path, row)
        self.rows.append(row)
        print(row, flush=True)
        return row
