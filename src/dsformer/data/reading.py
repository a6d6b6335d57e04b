"""Reading text files, plain or gzipped, and Parquet; errors say which file, line or column is wrong."""

import csv
import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from dsformer.errors import InputError, MissingExtraError

# The csv module refuses cells above 128 KiB, which a whole document exceeds; its limit is a C long, at least 32 bits.
_CELL_LIMIT = 2**31 - 1


def file_kind(path: Path) -> str:
    """Return the last suffix of a file's name, ignoring `.gz`: ".csv" for "a.csv.gz"; empty if it has none."""
    suffixes = [suffix for suffix in path.suffixes if suffix != ".gz"]
    return suffixes[-1] if suffixes else ""


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """Open a UTF-8 text file, and decompress it if its name ends in `.gz`.

    A byte order mark is dropped. Line ends are unchanged, as the csv module requires.

    Raises:
        InputError: the file is missing or unreadable, not UTF-8, or a damaged gzip file. Also raised while it is read.
    """
    try:
        if path.suffix == ".gz":
            with gzip.open(path, "rt", encoding="utf-8-sig", newline="") as file:
                yield file
        else:
            with path.open(encoding="utf-8-sig", newline="") as file:
                yield file
    except FileNotFoundError:
        raise InputError(f"No such file: {path}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}") from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path} is not a whole gzip file: {error}") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error


def check_column(path: Path, names: list[str], wanted: str) -> None:
    """Check that a file has a column.

    Args:
        path: the file, for the message.
        names: the names of its columns.
        wanted: the name of the column.

    Raises:
        InputError: the column is missing; the message lists the columns of the file.
    """
    if wanted not in names:
        raise InputError(f"{path} has no column {wanted!r}; its columns are: {', '.join(names)}")


@dataclass(frozen=True)
class Table:
    """A table with named columns.

    Attributes:
        path: the file it was read from, for messages.
        header: the column names.
        rows: the cells; every row is as long as the header.
        lines: the number of the line each row ends on, from 1.
    """

    path: Path
    header: list[str]
    rows: list[list[str]]
    lines: list[int]

    def column(self, name: str) -> list[str]:
        """Return the cells of one column, top to bottom.

        Raises:
            InputError: there is no such column; the message lists the columns there are.
        """
        check_column(self.path, self.header, name)
        index = self.header.index(name)
        return [row[index] for row in self.rows]


def read_table(
    path: Path, *, tabs: bool = False, header: Sequence[str] | None = None, skip_broken: bool = False
) -> Table:
    """Read a table whose first line names the columns; empty lines are skipped.

    Args:
        path: the file, which may be gzipped.
        tabs: cells are separated by tabs and quotation marks are ordinary characters, as GLUE and BEIR write them;
            otherwise cells are separated by commas and may be quoted.
        header: the column names of a file that may lack the line with them.
        skip_broken: skip rows with more or fewer cells than the header instead of raising an error.

    Raises:
        InputError: the file cannot be read, is empty, or a row has more or fewer cells than the header.
    """
    with open_text(path) as file, _large_cells():
        lines = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE) if tabs else csv.reader(file)
        try:
            numbered = [(lines.line_num, row) for row in lines if row]
        except csv.Error as error:
            raise InputError(f"{path}, line {lines.line_num}: {error}") from error
    if not numbered:
        raise InputError(f"{path} is empty")
    if header is None or numbered[0][1] == list(header):
        header = numbered.pop(0)[1]
    whole = [(number, row) for number, row in numbered if len(row) == len(header)]
    if len(whole) < len(numbered) and not skip_broken:
        number, row = next((number, row) for number, row in numbered if len(row) != len(header))
        raise InputError(f"{path}, line {number}: expected {len(header)} cells, not {len(row)}")
    return Table(path, list(header), [row for _, row in whole], [number for number, _ in whole])


@contextmanager
def _large_cells() -> Iterator[None]:
    """Raise the csv module's limit on the size of a cell, and restore it at the end."""
    before = csv.field_size_limit(_CELL_LIMIT)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def read_jsonl(path: Path) -> list[Any]:
    """Read the values of a file with one JSON value per line; blank lines are skipped.

    Raises:
        InputError: the file cannot be read, or a line is not JSON.
    """
    values = []
    with open_text(path) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                values.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise InputError(f"{path}, line {number}: not JSON: {error.msg}") from error
    return values


@contextmanager
def open_parquet(path: Path) -> Iterator[Any]:
    """Open a Parquet file as `pyarrow.parquet.ParquetFile`.

    Raises:
        InputError: the file is missing or not Parquet. Also raised while it is read.
        MissingExtraError: pyarrow is not installed.
    """
    if not path.is_file():
        raise InputError(f"No such file: {path}")
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("Reading Parquet", "train") from error
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            yield file
    except pyarrow.ArrowInvalid as error:
        raise InputError(f"{path} is not a readable Parquet file: {error}") from error
