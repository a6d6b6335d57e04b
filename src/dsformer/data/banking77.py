"""banking77: short customer queries with 77 intents (Casanueva et al. 2020). Bundled."""

import json
from dataclasses import dataclass
from pathlib import Path

from dsformer.data.reading import open_text, read_table
from dsformer.data.sources import find_data, find_file
from dsformer.errors import InputError

FOLDER = "banking77"


@dataclass(frozen=True)
class LabelledTexts:
    """Texts and the index of the category of each, in the order of the file."""

    texts: tuple[str, ...]
    labels: tuple[int, ...]


@dataclass(frozen=True)
class Banking77:
    """The official split: 10,003 training queries, and 3,080 test queries (40 of each of the 77 categories)."""

    train: LabelledTexts
    test: LabelledTexts
    categories: tuple[str, ...]


def load(data_dir: Path | None = None) -> Banking77:
    """Read `train.csv`, `test.csv` (columns text, category) and `categories.json` from `banking77` or the package.

    Source: github.com/PolyAI-LDN/task-specific-datasets, CC BY 4.0.

    Raises:
        InputError: a file or column is missing, or a category is not in `categories.json`.
    """
    folder = find_data(FOLDER, data_dir)
    categories = _read_categories(find_file(folder, "categories.json"))
    train = _read_split(find_file(folder, "train.csv"), categories)
    test = _read_split(find_file(folder, "test.csv"), categories)
    return Banking77(train, test, categories)


def _read_categories(path: Path) -> tuple[str, ...]:
    with open_text(path) as file:
        try:
            names = json.load(file)
        except json.JSONDecodeError as error:
            raise InputError(f"{path} is not JSON: {error}") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{path} must hold a list of category names")
    return tuple(names)


def _read_split(path: Path, categories: tuple[str, ...]) -> LabelledTexts:
    table = read_table(path)
    index = {name: number for number, name in enumerate(categories)}
    texts, names = table.column("text"), table.column("category")
    unknown = sorted(set(names) - set(index))
    if unknown:
        raise InputError(f"{path} has a category that categories.json does not list: {unknown[0]!r}")
    if not texts:
        raise InputError(f"{path} holds no rows")
    return LabelledTexts(tuple(texts), tuple(index[name] for name in names))
