"""Rows of a benchmark, kept in a file of JSON lines: an interrupted run goes on where it stopped."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Row = dict[str, Any]


class Finished:
    """The rows there are.

    Args:
        path: of the file, written with the first row.
        key: the field that tells rows apart.
    """

    def __init__(self, path: Path, key: str):
        self.path, self.key = path, key
        self.rows: list[Row] = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def get(self, name: Any, measure: Callable[[], Row]) -> Row:
        """The row of a name, measured and printed if it is not there yet."""
        for row in self.rows:
            if row[self.key] == name:
                return row
        row = {self.key: name} | measure()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        self.rows.append(row)
        print(row, flush=True)
        return row
