"""Registry of the supervised tasks by name."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from dsformer.data.reading import file_kind
from dsformer.data.supervised import files, glue, sentences, squad, wikitext, wnut17
from dsformer.data.supervised.files import Columns
from dsformer.data.supervised.task import SupervisedTask
from dsformer.errors import InputError
from dsformer.utils.atomic_io import user_path

_LOADERS: Mapping[str, Callable[[Path | None], SupervisedTask]] = {
    **{name: partial(glue.load, name) for name in glue.LAYOUTS},
    **{name: partial(squad.load, name) for name in squad.VERSIONS},
    "wnut17": wnut17.load,
    "banking77": sentences.load_banking77,
    "movie_reviews": sentences.load_movie_reviews,
    "sms_spam": sentences.load_sms_spam,
    **{name: partial(wikitext.load, name) for name in wikitext.KINDS},
}

TASK_NAMES = tuple(_LOADERS)
"""Every name that `load_task` knows."""


def load_task(name: str, data_dir: Path | None = None, *, columns: Columns | None = None) -> SupervisedTask:
    """Read a task by name, or the user's own from a file.

    Args:
        name: a name out of `TASK_NAMES`, or the path of a `.csv`, `.tsv`, `.jsonl` or `.parquet` file.
        data_dir: a folder of data sets. A task is looked up there, then in the package, then on the Hugging Face hub.
        columns: the columns of the user's file; by default "text" and "label".

    Raises:
        InputError: the name is unknown; a file, column or label is missing or wrong; or the hub cannot be reached.
        MissingExtraError: a package for the hub or for Parquet is not installed.
    """
    if name in _LOADERS:
        if columns is not None:
            raise InputError(f"The task {name!r} knows its columns; naming them is for a file of your own")
        return _LOADERS[name](data_dir)
    path = user_path(name) if name else Path()
    if file_kind(path) in files.FORMATS:
        return files.load(path, columns or Columns())
    raise InputError(
        f"Unknown task {name!r}; the tasks are: {', '.join(TASK_NAMES)}; "
        f"or give the path of a file that ends in {', '.join(files.FORMATS)}"
    )
