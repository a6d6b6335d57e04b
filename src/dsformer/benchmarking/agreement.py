"""How near what a contender says of real texts is to what PyTorch says: engines differ in what their int8 loses."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from dsformer.benchmarking.engines import Contender, open_contender
from dsformer.benchmarking.texts import Setting, texts_of
from dsformer.errors import InputError
from dsformer.models.pooling import Pooling, mean_pooling, read_pooling
from dsformer.models.source import find_directory

# Texts that outputs are compared on.
TEXTS = 64


@dataclass(frozen=True)
class Cosines:
    """Cosines of outputs over texts: their mean and the least."""

    mean: float
    least: float

    @classmethod
    def of(cls, outputs: Sequence[Tensor], others: Sequence[Tensor]) -> "Cosines | None":
        """Compare outputs text by text; None where they are not of the same length, so that no cosine is defined."""
        pairs = list(zip(outputs, others, strict=True))
        if any(a.shape != b.shape for a, b in pairs):
            return None
        found = [float(torch.cosine_similarity(a.double(), b.double(), 0)) for a, b in pairs]
        return cls(sum(found) / len(found), min(found))

    def __str__(self) -> str:
        return f"{self.mean:.4f} ({self.least:.4f})"


@dataclass(frozen=True)
class Agreement:
    """Cosines of a contender's embeddings, or of its classes' scores, with those of PyTorch.

    Attributes:
        first: with the first model in float32; None where that has outputs of another length.
        own: with the contender's model, as it was saved.
    """

    first: Cosines | None
    own: Cosines | None


class References:
    """Compares contenders with PyTorch, on texts of the sizes that are timed and in batches of the same size.

    Args:
        contenders: of the benchmark; those that run in PyTorch are not loaded again.
        count: about how many texts are compared.
    """

    def __init__(self, contenders: Sequence[Contender], count: int = TEXTS):
        self.count = count
        self._eager = {str(one.model): one for one in contenders if one.way == "eager"}
        self._first = contenders[0].model
        self._single: Contender | None = None
        self._known: dict[tuple[str, int, str], list[Tensor]] = {}
        self._found: dict[tuple[str, int, str], Agreement] = {}

    def of(self, contender: Contender, setting: Setting) -> Agreement:
        """Return the agreement of a contender; the same for every number of threads."""
        key = contender.name, setting.batch, setting.size
        if key not in self._found:
            outputs = self._outputs(contender, setting)
            first, own = self._outputs(self.first(), setting), self._outputs(self.eager(contender.model), setting)
            self._found[key] = Agreement(Cosines.of(outputs, first), Cosines.of(outputs, own))
        return self._found[key]

    def eager(self, model: str | Path) -> Contender:
        """Return a model in PyTorch, as it was saved."""
        if str(model) not in self._eager:
            self._eager[str(model)] = open_contender(model)
        return self._eager[str(model)]

    def first(self) -> Contender:
        """Return the first model in PyTorch, in float32."""
        if self._single is None:
            eager = self.eager(self._first)
            whole = all(one.dtype == torch.float32 for one in eager.engine.call.parameters())  # type: ignore[attr-defined]
            self._single = eager if whole else open_contender(self._first, "fp32")
        return self._single

    def _outputs(self, contender: Contender, setting: Setting) -> list[Tensor]:
        key = contender.name, setting.batch, setting.size
        if key not in self._known:
            pooling = pooling_of(contender.model)
            batches = texts_of(contender.tokenizer, setting, max(1, round(self.count / setting.batch)))
            self._known[key] = [pooled(one, pooling) for batch in batches for one in contender.outputs(batch)]
        return self._known[key]


def pooling_of(model: str | Path) -> Pooling:
    """Return how a model pools; the mean, where its directory says nothing or something else than mean and first."""
    try:
        return read_pooling(find_directory(model).top)
    except InputError:
        return mean_pooling


def pooled(output: Float[Tensor, "*tokens width"], pooling: Pooling) -> Float[Tensor, " width"]:
    """Pool the hidden states of a text; a classifier's output is returned as it is."""
    if output.ndim == 1:
        return output
    return pooling(output[None], torch.ones(1, len(output)))[0]
