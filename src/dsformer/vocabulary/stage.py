"""Vocabulary pruning as a stage of a recipe: it comes first, and writes the dense model that the others start from."""

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
    """Write the model pruned to the tokens of a corpus, and return its directory.

    Args:
        model: a directory or hub name.
        corpus: file of texts of the kind that the model will be used on.
        place: the directory to write.

    Raises:
        InputError: the model is one in memory; or as for :func:`prune_vocabulary`.
    """
    if not isinstance(model, str | Path):
        raise InputError("vocabulary: needs a directory or a hub name, not a model in memory")
    prune_vocabulary(model, place, read_texts(corpus))
    return place


@contextmanager
def with_vocabulary(model: Model, corpus: Path | None) -> Iterator[Model]:
    """Yield the model, or with a corpus a temporary directory with the model pruned to its tokens."""
    if corpus is None:
        yield model
        return
    with scratch_directory() as scratch:
        yield write_with_vocabulary(model, corpus, scratch / "model")
