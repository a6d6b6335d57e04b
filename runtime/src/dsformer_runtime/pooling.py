"""Pooling: hidden states of tokens to one vector for each text, as in sentence-transformers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dsformer_runtime.errors import RuntimeInputError, UnsupportedModelError
from dsformer_runtime.model import Floats
from dsformer_runtime.text_model import TextModel
from dsformer_runtime.tokenization import Batch

# Modes in the order in which they are concatenated where the configuration has a flag for each.
_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_SMALLEST = np.float32(1e-9)


@dataclass(frozen=True)
class PoolingModule:
    """A pooling.

    Attributes:
        modes: whose vectors are concatenated.
        include_prompt: whether the tokens of a prompt are pooled too.
        hidden: length of a hidden state.
    """

    modes: tuple[str, ...]
    include_prompt: bool
    hidden: int

    @property
    def width(self) -> int:
        """Length of the vectors."""
        return len(self.modes) * self.hidden

    def run(self, model: TextModel, batch: Batch, skipped: int = 0) -> Floats:
        """Return the vectors (texts, width) of a batch.

        Args:
            model: that makes the hidden states.
            batch: of texts.
            skipped: first tokens of every text that are not pooled.
        """
        if len(self.modes) == 1 and self.modes[0] in ("cls", "max", "mean") and not skipped:
            return model.run_pooled(batch, self.modes[0])  # type: ignore[arg-type]
        hidden = model.run(batch)
        pooled = np.zeros((len(batch.lengths), self.width), np.float32)
        stops = np.cumsum(batch.lengths)
        for number, (start, stop) in enumerate(zip(stops - batch.lengths, stops, strict=True)):
            states = hidden[start:stop]
            if len(states):
                pooled[number] = np.concatenate([_pool(mode, states, skipped) for mode in self.modes])
        return pooled


def read_pooling(config: Mapping[str, Any], hidden: int) -> PoolingModule:
    """Return the pooling of its configuration.

    Args:
        config: of the module, with one flag for each mode or with ``pooling_mode``.
        hidden: length of a hidden state.

    Raises:
        RuntimeInputError: it is of a model of another width.
        UnsupportedModelError: a mode is not supported.
    """
    width = config.get("embedding_dimension", config.get("word_embedding_dimension", hidden))
    if width != hidden:
        raise RuntimeInputError(f"the pooling is of vectors of {str(width)[:20]} numbers, the encoder's have {hidden}")
    modes = config.get("pooling_mode")
    if modes is None:
        modes = [mode for flag, mode in _FLAGS.items() if config.get(flag) is True] or ["mean"]
    modes = [modes] if isinstance(modes, str) else modes
    if not isinstance(modes, list) or not modes or not all(mode in _FLAGS.values() for mode in modes):
        raise UnsupportedModelError(f"the pooling {str(modes)[:60]} is not supported")
    return PoolingModule(tuple(modes), config.get("include_prompt") is not False, hidden)


def _pool(mode: str, states: Floats, skipped: int) -> Floats:
    """Return the vector of one text by one mode."""
    rest = states[skipped:]
    if mode == "cls":
        # Without any token but those of the prompt, it is the first.
        return rest[0] if len(rest) else states[0]
    if mode == "lasttoken":
        return states[-1] if len(rest) else np.zeros_like(states[0])
    if mode == "max":
        return rest.max(0, initial=-np.inf)
    weights = np.arange(skipped + 1, len(states) + 1, dtype=np.float32)[:, None]
    if mode == "weightedmean":
        return (rest * weights).sum(0) / np.maximum(weights.sum(), _SMALLEST)
    count = np.maximum(np.float32(len(rest)), _SMALLEST)
    return rest.sum(0) / (np.sqrt(count) if mode == "mean_sqrt_len_tokens" else count)
