"""Calibration text: plain passages, a bundled sample of books or a file of the user's."""

from pathlib import Path

from dsformer.data.reading import check_column, file_kind, open_parquet, open_text, read_jsonl, read_table
from dsformer.data.sources import BUNDLED
from dsformer.data.subset import even_indices
from dsformer.errors import InputError

_FORMATS = ".txt, .csv, .tsv, .jsonl (each may be followed by .gz) or .parquet"


def bundled_passages(count: int) -> list[str]:
    """Return `count` of the 512 bundled passages (about 500 characters of English prose each), evenly over five books.

    Raises:
        InputError: `count` is below 1 or above 512.
    """
    passages = _read_lines(BUNDLED / "calibration" / "books.txt.gz")
    if not 1 <= count <= len(passages):
        raise InputError(f"The package holds {len(passages)} passages; between 1 and {len(passages)} can be asked for")
    return [passages[index] for index in even_indices(len(passages), count)]


def read_texts(path: Path, column: str | None = None) -> list[str]:
    """Read the passages of a file, in order, without the blank ones.

    Args:
        path: `.txt` (one passage per line), `.csv` (commas, may be quoted), `.tsv` (tabs, never quoted), `.jsonl`
            (strings, or objects with the key `column`), each possibly with `.gz` appended, or `.parquet`.
        column: the column that holds the text. It may be omitted if there is only one, or one is called "text".

    Raises:
        InputError: the file is missing, unreadable, without text or of another format; or the column is missing,
            ambiguous or not text.
        MissingExtraError: a Parquet file needs pyarrow, which is not installed.
    """
    kind = file_kind(path)
    if kind == ".txt":
        if column is not None:
            raise InputError(f"{path} is plain text and has no columns, but the column {column!r} was asked for")
        texts = _read_lines(path)
    elif kind in (".csv", ".tsv"):
        table = read_table(path, tabs=kind == ".tsv")
        texts = table.column(_choose_column(path, table.header, column))
    elif kind == ".jsonl":
        texts = _read_jsonl_texts(path, column)
    elif kind == ".parquet":
        texts = _read_parquet_texts(path, column)
    else:
        raise InputError(f"{path}: text is read from {_FORMATS}")
    texts = [text for text in texts if text.strip()]
    if not texts:
        raise InputError(f"{path} holds no text")
    return texts


def _read_lines(path: Path) -> list[str]:
    with open_text(path) as file:
        return [line.strip() for line in file if line.strip()]


def _choose_column(path: Path, names: list[str], column: str | None) -> str:
    if column is not None:
        check_column(path, names, column)
        return column
    if "text" in names:
        return "text"
    if len(names) == 1:
        return names[0]
    raise InputError(f"{path} has several columns; say which one holds the text: {', '.join(names)}")


def _read_jsonl_texts(path: Path, column: str | None) -> list[str]:
    values = read_jsonl(path)
    texts = []
    for number, value in enumerate(values, 1):
        text = value[_choose_column(path, list(value), column)] if isinstance(value, dict) else value
        if not isinstance(text, str):
            raise InputError(f"{path}, value {number}: expected a string, not {type(text).__name__}")
        texts.append(text)
    return texts


def _read_parquet_texts(path: Path, column: str | None) -> list[str]:
    with open_parquet(path) as file:
        name = _choose_column(path, file.schema_arrow.names, column)
        values = file.read(columns=[name]).column(name).to_pylist()
    texts = [value for value in values if value is not None]
    if not all(isinstance(text, str) for text in texts):
        raise InputError(f"{path}: the column {name!r} does not hold text")
    return texts
