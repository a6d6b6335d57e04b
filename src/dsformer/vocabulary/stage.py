"""The vocabulary as a step of a recipe: before all others, as a dense model they start from."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import nn

from dsformer.data import read_texts
from dsformer.errors import InputError
from dsformer.utils.atomic_io import scratch_directory
from dsformer.vocabulary.prune import prune_vocabulary

Model = str | Path | nn.Module


def write_with_vocabulary(model: Model, corpus: Path, place: Path) -> Path:
    """Write the model with the vocabulary of a file. Raises InputError as :func:`prune_vocabulary`."""
    if not isinstance(model, str | Path):
        raise InputError("vocabulary: needs a directory or a hub name, not a model in memory")
    prune_vocabulary(model, place, read_texts(corpus))
    return place


@contextmanager
def with_vocabulary(model: Model, corpus: Path | None) -> Iterator[Model]:
    """The model, or for a while a directory of it with the vocabulary of a file."""
    if corpus is None:
        yield model
        return
    with scratch_directory() as scratch:
        yield write_with_vocabulary(model, corpus, scratch / "model")
