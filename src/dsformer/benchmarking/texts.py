"""Settings of a benchmark, and the real texts that are run in one."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dsformer.data import bundled_passages

PASSAGES = 512
# Fewer characters than these are never a token on average, in English.
CHARACTERS = 12
Length = int | tuple[int, int]


@dataclass(frozen=True)
class Setting:
    """What is measured.

    Attributes:
        batch: number of texts.
        length: tokens of a text.
        threads: it runs on.
        shortest: with mixed lengths the tokens of the shortest text, and ``length`` is that of the longest; None: all
            texts have the same length.
    """

    batch: int
    length: int
    threads: int
    shortest: int | None = None

    @classmethod
    def of(cls, batch: int, length: Length, threads: int) -> "Setting":
        """Make a setting of one length, or of a range of lengths.

        Args:
            batch: number of texts.
            length: tokens of a text, or of the shortest and the longest.
            threads: it runs on.
        """
        shortest, longest = length if isinstance(length, tuple) else (None, length)
        return cls(batch, longest, threads, shortest)

    @property
    def lengths(self) -> list[int]:
        """Tokens of every text: mixed ones are spread evenly over their range, in an order drawn once and for all."""
        if self.shortest is None:
            return [self.length] * self.batch
        steps = max(1, self.batch - 1)
        spread = [self.length - (self.length - self.shortest) * i // steps for i in range(self.batch)]
        return random.Random(0).sample(spread, len(spread))

    @property
    def size(self) -> str:
        """The lengths in words: ``128`` or ``8-128``."""
        return str(self.length) if self.shortest is None else f"{self.shortest}-{self.length}"


def texts_of(tokenizer: Any, setting: Setting, batches: int = 1) -> list[list[list[int]]]:
    """Return batches of book passages as token ids, cut to the lengths of a setting.

    They are none of the passages that weights and engines are calibrated on by default.

    Args:
        tokenizer: of the model.
        setting: says how many tokens every text of a batch has.
        batches: number of batches.
    """
    passages = bundled_passages(PASSAGES)[1::2]
    found = []
    for first in range(0, batches * setting.batch, setting.batch):
        starts = [4 * (first + i) % len(passages) for i in range(setting.batch)]
        found.append([_text(tokenizer, passages, *pair) for pair in zip(starts, setting.lengths, strict=True)])
    return found


def _text(tokenizer: Any, passages: Sequence[str], start: int, length: int) -> list[int]:
    """Token ids of the passages from one on, cut to a length; as often in a row as it takes."""
    text = ""
    for passage in [*passages[start:], *passages[:start]]:
        text = f"{text} {passage}".lstrip()
        if len(text) >= CHARACTERS * length:
            break
    ids = tokenizer(text, truncation=True, max_length=length)["input_ids"]
    return (ids * (-(-length // len(ids))))[:length]
