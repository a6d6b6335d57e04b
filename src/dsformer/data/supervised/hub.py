"""Data sets from the Hugging Face hub, for tasks that are neither in a folder of the user's nor in the package."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dsformer.errors import InputError, MissingExtraError

# datasets 4 stopped running the scripts that some repositories still consist of; this branch holds what they produced.
CONVERTED = "refs/convert/parquet"


@dataclass(frozen=True)
class HubSource:
    """Repository of a data set on the hub, and the folder of `--data-dir` that would replace it."""

    repository: str
    folder: str
    configuration: str | None = None
    revision: str | None = None

    def __str__(self) -> str:
        return self.repository + (f" ({self.configuration})" if self.configuration else "")


def load_hub(source: HubSource) -> Mapping[str, Mapping[str, Any]]:
    """Load the splits of a data set by name, each with its columns by name, from the hub or the cache of `datasets`.

    Raises:
        InputError: the hub cannot be reached, or does not hold the data set.
        MissingExtraError: `datasets` is not installed.
    """
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError(f"Loading {source} from the hub", "train") from error
    try:
        return datasets.load_dataset(source.repository, source.configuration, revision=source.revision)
    except Exception as error:  # the hub's clients raise errors of a dozen kinds, and no base class unites them
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{source} cannot be loaded from the Hugging Face hub: {reason}; "
            f"--data-dir may name a folder that holds it as {source.folder!r} instead"
        ) from error


def hub_column(source: HubSource, splits: Mapping[str, Mapping[str, Any]], split: str, column: str) -> list[Any]:
    """Return one column of one split.

    Args:
        source: the data set, for the message.
        splits: what `load_hub` returned for it.
        split: the name of the split.
        column: the name of the column.

    Raises:
        InputError: there is no such split or column.
    """
    try:
        return list(splits[split][column])
    except KeyError as error:
        raise InputError(f"{source} on the hub has no column {column!r} in a split {split!r}") from error
