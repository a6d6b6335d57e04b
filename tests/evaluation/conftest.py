import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest


class WordEncoder:
    """Stands in for a SentenceTransformer: a text is the sum of fixed random vectors of its words."""

    def __init__(self, width: int = 64, noise: float = 0.0):
        self.width = width
        self.noise = noise
        self.texts: list[str] = []

    def encode(self, sentences: Sequence[str], **options: Any) -> np.ndarray:
        self.texts.extend(sentences)
        return np.stack([sum(map(self._vector, text.lower().split())) + self._error(text) for text in sentences])

    def _vector(self, word: str) -> np.ndarray:
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "little")
        return np.random.default_rng(seed).standard_normal(self.width).astype(np.float32)

    def _error(self, text: str) -> np.ndarray:
        return self.noise * self._vector(f"noise of {text}")


@pytest.fixture
def word_encoder() -> Callable[..., WordEncoder]:
    return WordEncoder
