import sys
from pathlib import Path

import numpy as np
import pytest

from dsformer.errors import ArtefactError, InputError, MissingExtraError
from dsformer.evaluation import encode, load_encoder
from dsformer.evaluation.encoder import unit_rows
from fixtures.typechecking import unchecked

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b", "c"]


@pytest.fixture(scope="module")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a one-layer random BERT that knows three words."""
    pytest.importorskip("sentence_transformers")
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny_bert")
    words = Tokenizer(WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    size = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=len(WORDS), max_position_embeddings=32, **size)).save_pretrained(folder)
    return folder


def test_a_directory_is_loaded_and_texts_keep_their_order(tiny_bert: Path):
    encoder = load_encoder(tiny_bert, device="cpu")
    texts = ["a", "a b c a b c", "b c"]
    together = encode(encoder, texts, batch_size=2)
    assert together.dtype == np.float32
    assert together.shape == (3, 8)
    alone = np.concatenate([encode(encoder, [text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert load_encoder(encoder) is encoder


def test_progress_is_shown_only_when_asked_for(tiny_bert: Path, capfd: pytest.CaptureFixture[str]):
    encoder = load_encoder(tiny_bert, device="cpu")
    capfd.readouterr()
    encode(encoder, ["a"])
    assert capfd.readouterr().err == ""
    encode(encoder, ["a"], progress=True)
    assert "Batches" in capfd.readouterr().err


def test_what_is_no_encoder_is_named(tmp_path: Path):
    pytest.importorskip("sentence_transformers")
    with pytest.raises(InputError, match=r"nowhere: cannot be opened as a sentence encoder"):
        load_encoder(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"cannot be opened as a sentence encoder"):
        load_encoder(str(tmp_path))
    with unchecked(), pytest.raises(InputError, match="SentenceTransformer, not int"):
        load_encoder(3)


def test_errors_of_this_package_pass_unchanged(tiny_bert: Path, monkeypatch: pytest.MonkeyPatch):
    sentence_transformers = pytest.importorskip("sentence_transformers")

    def refuse(*args: object, **options: object) -> None:
        raise ArtefactError("written by a later version")

    monkeypatch.setattr(sentence_transformers, "SentenceTransformer", refuse)
    with pytest.raises(ArtefactError, match="written by a later version"):
        load_encoder(tiny_bert)


def test_without_sentence_transformers_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtraError, match=r'Evaluation of sentence encoders needs .*"dsformer\[evaluate\]"'):
        load_encoder(tmp_path)


def test_embeddings_that_are_not_finite_are_refused(word_encoder):
    with pytest.raises(InputError, match="not a number"):
        encode(word_encoder(noise=float("nan")), ["a"])


def test_unit_rows_leaves_zero_rows_at_zero():
    rows = unit_rows(np.array([[3, 4], [0, 0]], dtype=np.float32))
    np.testing.assert_allclose(rows, [[0.6, 0.8], [0, 0]], rtol=1e-6)
