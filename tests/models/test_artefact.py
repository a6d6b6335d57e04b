import errno
import json
import os
import stat
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from safetensors import SafetensorError

from dsformer.errors import ArtefactError, InputError
from dsformer.format.precision import INT8, Precision
from dsformer.models.artefact import check, save
from fixtures.models import compress, inputs, tiny_model

NAME = "DistilBertForSequenceClassification"


@pytest.fixture
def model():
    model = tiny_model(NAME)
    compress(model, embeddings=False)
    return model


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The files of a sentence-transformers model that keeps its transformer in a subdirectory."""
    source = tmp_path / "source"
    (source / "0_Transformer").mkdir(parents=True)
    (source / "1_Pooling").mkdir()
    (source / "1_Pooling" / "config.json").write_text('{"pooling_mode": "mean"}')
    (source / "0_Transformer" / "tokenizer.json").write_text("{}")
    (source / "0_Transformer" / "sentence_bert_config.json").write_text('{"max_seq_length": 40}')
    (source / "0_Transformer" / "model.safetensors").write_text("the dense weights")
    (source / "config_sentence_transformers.json").write_text("{}")
    (source / "LICENSE.txt").write_text("As you like.")
    (source / "README.md").write_text("---\nlicense: mit\nlanguage: en\n---\n# Base\n")
    modules = [
        {"idx": 0, "name": "0", "path": "0_Transformer", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
    ]
    (source / "modules.json").write_text(json.dumps(modules))
    return source


def test_companions_are_copied(model, source: Path, tmp_path: Path):
    out = save(model, tmp_path / "out", source)
    assert sorted(os.listdir(out)) == [
        "1_Pooling",
        "LICENSE.txt",
        "README.md",
        "config.json",
        "config_sentence_transformers.json",
        "model.safetensors",
        "modules.json",
        "sentence_bert_config.json",
        "tokenizer.json",
    ]
    assert json.loads((out / "modules.json").read_text())[0]["path"] == ""
    assert "license: mit" in (out / "README.md").read_text()
    assert "library_name: sentence-transformers" in (out / "README.md").read_text()
    assert stat.S_IMODE(out.stat().st_mode) == stat.S_IMODE(source.stat().st_mode)


@pytest.mark.parametrize("precision", [None, INT8, Precision(4, 4)], ids=str)
def test_sentence_transformers_loads_it(precision: Precision | None, tmp_path: Path):
    pytest.importorskip("sentence_transformers")
    from sentence_transformers import SentenceTransformer
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "a", "small", "test", "sentence"])}
    tokenizer = Tokenizer(models.WordLevel(words, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    source = tmp_path / "source"
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "model_input_names": ["input_ids", "attention_mask"]}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(source)
    dense = tiny_model(NAME).distilbert
    dense.save_pretrained(source)
    SentenceTransformer(str(source), device="cpu").save(str(source / "st"))

    base = tiny_model(NAME).distilbert
    compress(base, precision=precision)
    out = save(base, tmp_path / "out", source / "st")
    loaded = SentenceTransformer(str(out), device="cpu")
    ids = torch.tensor([[2, 3, 4, 5]])
    with torch.no_grad():
        expected = base(input_ids=ids)[0].mean(1)
    embedded = loaded.encode(["a small test sentence"], convert_to_tensor=True)
    # With integers the native encoder rounds attention to bfloat16.
    torch.testing.assert_close(embedded, expected, rtol=1e-4, atol=1e-5 if precision is None else 0.05)
    data = bytearray((out / "model.safetensors").read_bytes())
    data[-3] ^= 4
    (out / "model.safetensors").write_bytes(data)
    with pytest.raises(ArtefactError, match="is damaged: its checksum"):
        SentenceTransformer(str(out), device="cpu")


@pytest.mark.parametrize("path", ["../outside", "/etc", 3])
def test_modules_outside_their_directory_are_refused(model, source: Path, tmp_path: Path, path: object):
    (source / "modules.json").write_text(json.dumps([{"path": path, "type": "Pooling"}]))
    with pytest.raises(InputError, match=r"modules\.json"):
        save(model, tmp_path / "out", source)
    assert not (tmp_path / "out").exists()


def failing(error: BaseException):
    """``save_pretrained`` that writes a part, then fails."""

    def save_pretrained(self, directory, **options):
        (Path(directory) / "model.safetensors").write_bytes(b"half")
        raise error

    return patch("transformers.PreTrainedModel.save_pretrained", save_pretrained)


FAILURES = [
    (OSError(errno.ENOSPC, "No space left on device"), OSError),
    (SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"), OSError),
    (KeyboardInterrupt(), KeyboardInterrupt),
]


@pytest.mark.parametrize(("error", "raised"), FAILURES, ids=["full disk", "full disk as text", "Ctrl-C"])
def test_a_failure_leaves_nothing(model, tmp_path: Path, error: BaseException, raised: type[BaseException]):
    with failing(error), pytest.raises(raised) as caught:
        save(model, tmp_path / "out")
    assert os.listdir(tmp_path) == []
    if raised is OSError:
        assert caught.value.errno == errno.ENOSPC


@pytest.mark.parametrize(("error", "raised"), FAILURES, ids=["full disk", "full disk as text", "Ctrl-C"])
def test_a_failure_leaves_what_was_there(model, tmp_path: Path, error: BaseException, raised: type[BaseException]):
    out = save(model, tmp_path / "out")
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    with failing(error), pytest.raises(raised):
        save(model, out, overwrite=True)
    assert os.listdir(tmp_path) == ["out"]
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before


def test_a_real_full_disk(model, tmp_path: Path):
    """As far as the process is concerned: no file may grow beyond some bytes."""
    resource = pytest.importorskip("resource")
    import signal

    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            save(model, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert os.listdir(tmp_path) == []


def test_what_cannot_be_loaded_is_not_published(model, tmp_path: Path):
    broken = patch("dsformer.models.artefact.check", side_effect=ArtefactError("broken"))
    with broken, pytest.raises(ArtefactError):
        save(model, tmp_path / "out")
    assert os.listdir(tmp_path) == []


def test_a_directory_that_is_not_empty_is_kept(model, tmp_path: Path):
    (tmp_path / "out").mkdir()
    save(model, tmp_path / "out")
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="is not empty"):
        save(model, tmp_path / "out")
    save(model, tmp_path / "out", overwrite=True)
    assert not (tmp_path / "out" / "notes.txt").exists()
    assert os.listdir(tmp_path) == ["out"]
    check(tmp_path / "out")


def test_a_dense_model_is_not_saved(tmp_path: Path):
    with pytest.raises(InputError, match="not compressed"):
        save(tiny_model(NAME), tmp_path / "out")


def test_saving_changes_nothing(model, tmp_path: Path):
    with torch.no_grad():
        before = model(**inputs(model)).logits
        save(model, tmp_path / "out")
        assert torch.equal(model(**inputs(model)).logits, before)
