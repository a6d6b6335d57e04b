from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from dsformer.benchmarking import open_contender, open_contenders
from dsformer.benchmarking.scores import Embedder, score
from dsformer.errors import InputError
from fixtures.training import write_sentence_encoder

SENTENCES = ["the good film", "a plot", "the story was awful and dull and poor"]


@pytest.mark.parametrize("mode", ["mean_tokens", "cls_token"])
def test_embeddings_are_those_of_sentence_transformers(tmp_path: Path, mode: str):
    model = write_sentence_encoder(tmp_path / "model", mode)
    expected = SentenceTransformer(str(model), device="cpu").encode(SENTENCES)
    found = Embedder(open_contender(model, "onnx")).encode(SENTENCES, batch_size=2)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_scores(tmp_path: Path):
    contenders = open_contenders([write_sentence_encoder(tmp_path / "model")], ["eager", "onnx", "compile"])
    found = score(contenders, "banking77", limit=40)
    assert list(found) == [contenders[0].name, contenders[1].name]
    assert found[contenders[1].name] == pytest.approx(found[contenders[0].name], abs=3)
    with pytest.raises(InputError, match="compares with the original model"):
        score(contenders, "fidelity")
