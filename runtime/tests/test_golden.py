"""Golden artefacts of the library's tests: what PyTorch computed with them is computed here too."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from dsformer_runtime.artefact.precision import widen_scales
from dsformer_runtime.families.build import load_model
from dsformer_runtime.model import CompressedTable
from dsformer_runtime.reference import ReferenceEncoder
from dsformer_runtime.sentence_encoder import SentenceEncoder

GOLDEN = Path(__file__).parents[2] / "tests" / "golden"
DATA = Path(__file__).parent / "data"
# Others are language models, of which the outputs were kept, or no encoders.
NAMES = sorted(
    path.parent.name
    for path in GOLDEN.glob("*/config.json")
    if not path.parent.name.startswith(("tied-table", "conv1d"))
)


@pytest.mark.parametrize("name", NAMES)
def test_hidden_states(name: str):
    kept = load_file(GOLDEN / f"{name}.safetensors")
    real = kept["attention_mask"].astype(bool)
    encoder = ReferenceEncoder(load_model(GOLDEN / name).encoder)
    found = encoder.run(kept["input_ids"][real].astype(np.int32), None, kept["attention_mask"].sum(1))
    error = np.linalg.norm(found - kept["output"][real]) / np.linalg.norm(kept["output"][real])
    assert error < (0.02 if "float16" in name else 1e-5)


@pytest.mark.parametrize("name", ["tied-table", "tied-table-int8", "tied-table-grouped"])
def test_compressed_embeddings(name: str):
    words = load_model(GOLDEN / name).encoder.words
    assert isinstance(words, CompressedTable)
    assert words.width == 32
    if words.value_scales is not None:
        assert len(widen_scales(words.value_scales)) == words.rows


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An artefact with a tokenizer."""
    shutil.copytree(GOLDEN / "float32", tmp_path / "model")
    shutil.copyfile(DATA / "tokenizer.json", tmp_path / "model" / "tokenizer.json")
    return tmp_path / "model"


def test_vectors(place: Path):
    kept = np.load(DATA / "sentences.npz")
    texts = [str(text) for text in kept["texts"]]
    encoder = SentenceEncoder(place, backend="reference")
    vectors = encoder.encode(texts, normalize_embeddings=True)
    np.testing.assert_allclose(vectors, kept["vectors"], atol=2e-6)
    for more in ({"batch_size": 1}, {"batch_size": 3}):
        np.testing.assert_allclose(encoder.encode(texts, normalize_embeddings=True, **more), vectors, atol=1e-6)
    np.testing.assert_allclose(encoder.encode(texts[0], normalize_embeddings=True), vectors[0], atol=1e-6)
