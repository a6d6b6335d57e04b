"""Sentence encoders that ``dsformer.compress`` wrote: the vectors of SentenceTransformer."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules as kinds

import dsformer
from dsformer_runtime import load
from fixtures.families import write_family
from fixtures.text import sentences, word_tokenizer

QUICK: dict[str, Any] = {"ratio": 1.5, "effort": {"iterations": 2, "screening": 1}, "overwrite": True}
TEXTS = [*sentences(6, seed=3), "zebra", ""]


def compress(place: Path, family: str, **options: Any) -> Path:
    write_family(place / "plain", family)
    modules = [kinds.Transformer(str(place / "plain")), kinds.Pooling(32), kinds.Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(place / "dense"))
    dsformer.compress(place / "dense", place / "out", texts=sentences(24), **{**QUICK, **options})
    return place / "out"


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("bert", {"scope": "all", "factors": "int8", "exclude": ["pooler.dense"], "ratio": 1.3}),
        ("distilbert", {"method": "structured"}),
        ("mpnet", {"pattern": "grouped(4)"}),
        ("albert", {}),
        ("deberta-v3", {"factors": "int8"}),
        ("modernbert", {"factors": "int4"}),
        ("nomic", {"method": "monarch"}),
        ("roberta", {"share_dictionaries": True, "ratio": 3}),
        ("electra", {"method": "pruning"}),
    ],
)
def test_vectors(family: str, options: dict[str, Any], tmp_path: Path):
    place = compress(tmp_path, family, **options)
    found = load(place, backend="reference").encode(TEXTS)  # type: ignore[union-attr]
    # Products of integers round inputs: where PyTorch's are computed in another order, single ones round otherwise.
    most = 0.02 if "factors" in options else 2e-5
    np.testing.assert_allclose(found, SentenceTransformer(str(place), device="cpu").encode(TEXTS), atol=most)


def test_fewer_tokens(tmp_path: Path):
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(["the cat sleeps", "a dog runs"] * 4))
    place = compress(tmp_path, "bert", scope="all", vocabulary=str(corpus))
    ours = load(place, backend="reference")
    assert ours._text.encoder.words.rows < len(word_tokenizer())  # type: ignore[union-attr]
    texts = ["the cat sleeps", "a dog runs", "the dog sleeps"]
    wanted = SentenceTransformer(str(place), device="cpu").encode(texts)
    np.testing.assert_allclose(ours.encode(texts), wanted, atol=2e-5)  # type: ignore[union-attr]
