"""Files that appear whole or not at all, and files of rows."""

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

Row = dict[str, Any]


@contextmanager
def appearing_file(path: Path) -> Iterator[Path]:
    """A new file that takes the path's name on leaving, and vanishes when something is raised.

    Processes that write the same file at the same time do not meet: the last one's stays.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield fresh
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def read_rows(path: Path) -> list[Row]:
    """Rows of a file of JSON lines; none if there is no file. A line that was cut short, by a kill, is taken out."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    rows: list[Row] = []
    for line in lines:
        with suppress(json.JSONDecodeError):
            rows.append(json.loads(line))
    if len(rows) < len(lines):
        write_rows(path, rows)
    return rows


def add_row(path: Path, row: Row) -> None:
    """Add a row to a file of JSON lines, the first one with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Replace a file of JSON lines as a whole: a kill leaves the old one or the new one."""
    with appearing_file(path) as fresh:
        fresh.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
