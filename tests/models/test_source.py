import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from dsformer.errors import InputError
from dsformer.models.artefact import save
from dsformer.models.source import open_config, open_source
from fixtures.models import compress, tiny_model

NAME = "DistilBertForSequenceClassification"


def tokenizer() -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1}, "[UNK]")))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    tiny_model(NAME).to(torch.bfloat16).save_pretrained(tmp_path / "base")
    tokenizer().save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def test_a_directory(directory: Path):
    source = open_source(directory)
    assert type(source.model).__name__ == NAME
    assert source.model.dtype == torch.bfloat16
    assert not source.model.training
    assert (source.name, source.directory) == (str(directory), directory)
    assert source.tokenizer("a")["input_ids"] == [1]


def test_a_sentence_transformers_directory(directory: Path):
    top = directory.parent
    modules = [{"path": "base", "type": "sentence_transformers.models.Transformer"}]
    (top / "modules.json").write_text(json.dumps(modules))
    source = open_source(str(top))
    assert type(source.model).__name__ == "DistilBertModel"
    assert source.directory == top


def test_a_model_in_memory(directory: Path, tmp_path: Path):
    with pytest.raises(InputError, match="tokenizer"):
        open_source(tiny_model(NAME))
    source = open_source(tiny_model(NAME), tokenizer())
    assert (source.name, source.directory) == (NAME, None)
    compress(source.model)
    out = save(source.model, tmp_path / "out", source)
    assert (out / "tokenizer.json").is_file()
    loaded = open_source(directory)
    assert open_source(loaded.model, loaded.tokenizer).directory == directory


def test_what_is_not_there(tmp_path: Path):
    with pytest.raises(InputError, match="nobody/nothing: neither a directory nor a model of the hub"):
        open_source("nobody/nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty"):
        open_source(tmp_path / "empty")


def test_whose_configuration_it_is(directory: Path, tmp_path: Path):
    assert open_config(directory).architectures == [NAME]
    (tmp_path / "adapters").mkdir()
    (tmp_path / "adapters" / "adapter_config.json").write_text("{}")
    (tmp_path / "m.gguf").touch()
    (tmp_path / "empty").mkdir()
    for name, message in (("adapters", "holds adapters"), ("m.gguf", "a GGUF file"), ("empty", "empty: ")):
        with pytest.raises(InputError, match=message) as error:
            open_config(tmp_path / name)
        assert "\n" not in str(error.value)


def test_what_is_compressed_already(directory: Path, tmp_path: Path):
    model = tiny_model(NAME)
    compress(model)
    out = save(model, tmp_path / "out", directory)
    for again in (out, model):
        with pytest.raises(InputError, match="already"):
            open_source(again, tokenizer())
