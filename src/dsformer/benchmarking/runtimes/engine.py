"""What an engine does, and engines that take a padded batch: PyTorch's and those that are made for a thread count."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

Batch = Mapping[str, Tensor]
# Token ids of every text.
Texts = Sequence[Sequence[int]]


@runtime_checkable
class Engine(Protocol):
    """A model in an engine."""

    @property
    def path(self) -> Path | None:
        """The file or directory that the engine reads; None: it reads the model's directory."""

    def prepare(self, texts: Texts) -> Any:
        """Turn token ids into what :meth:`run` takes; this is not timed."""

    def run(self, prepared: Any) -> Any:
        """Run one forward pass."""

    def outputs(self, texts: Texts) -> list[Tensor]:
        """Run texts as one batch and return for every text what the model says of it.

        That is (tokens, width) of an encoder, without padding, and (classes,) of a classifier.
        """


class Padded:
    """An engine that takes texts padded to the longest of them.

    Args:
        call: the forward pass, of tensors by name.
        tokenizer: that names the token for padding.
        decodes: the model has a decoder, which gets the same texts.
        path: the engine's file; None: it has none.
        owner: is kept as long as this object, because the file is removed with it.
    """

    def __init__(
        self,
        call: Callable[..., Any],
        tokenizer: Any,
        decodes: bool = False,
        path: Path | None = None,
        owner: object = None,
    ):
        self.call, self.decodes, self.path, self._owner = call, decodes, path, owner
        self._padding = getattr(tokenizer, "pad_token_id", None) or 0

    def prepare(self, texts: Texts) -> Batch:
        """Pad the texts on the right."""
        rows, mask = padded(texts, self._padding)
        own = {"input_ids": rows, "attention_mask": mask}
        return {**own, "decoder_input_ids": rows} if self.decodes else own

    def run(self, prepared: Batch) -> Any:
        """Run one forward pass, without gradients."""
        with torch.no_grad():
            return self.call(**prepared)

    def outputs(self, texts: Texts) -> list[Tensor]:
        """Run texts as one batch and return what the model says of each."""
        found = self.run(self.prepare(texts))
        return split(torch.as_tensor(found if isinstance(found, np.ndarray) else found[0]), texts)


class Sessions:
    """Calls a session that is made anew when torch's number of threads changes.

    Args:
        make: makes a session for a number of threads.
    """

    def __init__(self, make: Callable[[int], Callable[..., Any]]):
        self._make = make
        self._made: dict[int, Callable[..., Any]] = {}
        self.session()

    def session(self) -> Callable[..., Any]:
        """Return the session for torch's present number of threads."""
        threads = torch.get_num_threads()
        if threads not in self._made:
            self._made = {threads: self._make(threads)}
        return self._made[threads]

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Run on torch's present number of threads."""
        return self.session()(*arguments, **named)


def padded(texts: Texts, padding: int) -> tuple[Tensor, Tensor]:
    """Return token ids (texts, longest), padded on the right, and the mask of the real ones."""
    longest = max(map(len, texts))
    rows = torch.full((len(texts), longest), padding)
    mask = torch.zeros_like(rows)
    for row, real, ids in zip(rows, mask, texts, strict=True):
        row[: len(ids)] = torch.tensor(ids)
        real[: len(ids)] = 1
    return rows, mask


def split(output: Tensor, texts: Texts) -> list[Tensor]:
    """Cut the output of a padded batch into one for every text, without what stands at padding."""
    longest = max(map(len, texts))
    of_tokens = output.ndim > 1 and output.shape[1] == longest
    return [row[: len(ids)] if of_tokens else row for row, ids in zip(output, texts, strict=True)]
