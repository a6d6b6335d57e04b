"""Weights and tokens that are not in the files: refused wherever a model is opened."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification, BertModel

import dsformer
from dsformer.benchmarking import open_contender
from dsformer.errors import InputError
from dsformer.evaluation import load_encoder
from dsformer.models.source import open_source
from fixtures.text import QUICK, sentences, sizes, word_tokenizer, write_model
from fixtures.training import write_task

OPENERS: dict[str, Callable[[Path, Path], object]] = {
    "compress": lambda model, out: dsformer.compress(model, out / "out", ratio=1.2, texts=sentences(8), **QUICK),
    "finetune": lambda model, out: dsformer.finetune(
        model, out / "out", task=str(write_task(out / "task.csv", 60)), examples=8, epochs=1
    ),
    "evaluate": lambda model, out: load_encoder(model, "cpu"),
    "benchmark": lambda model, out: open_contender(model),
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(BertModel(BertConfig(**sizes())), tmp_path / "model")


def change_weights(model: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    save_file(change(load_file(model / "model.safetensors")), model / "model.safetensors", {"format": "pt"})


def lose_one(model: Path) -> None:
    change_weights(model, lambda found: {k: v for k, v in found.items() if k != "encoder.layer.1.output.dense.weight"})


def rename(model: Path) -> None:
    change_weights(model, lambda found: {k.replace("layer.0.", "layer.7."): v for k, v in found.items()})


def deepen(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))


def exchange(model: Path) -> None:
    change_weights(model, lambda found: {f"transformer.{k}.other": v for k, v in found.items()})


@pytest.mark.parametrize("opened", OPENERS)
@pytest.mark.parametrize("damage", [lose_one, rename, deepen, exchange], ids=lambda one: one.__name__)
def test_missing_weights_are_refused(damage: Callable, opened: str, model: Path, tmp_path: Path):
    damage(model)
    with pytest.raises(InputError, match=r"\d+ weights of Bert\w+ are not in its files \(") as error:
        OPENERS[opened](model, tmp_path)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("opened", OPENERS)
def test_a_tokenizer_that_is_missing_is_refused(opened: str, model: Path, tmp_path: Path):
    """transformers makes one of five special tokens, for which all text is unknown."""
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (model / file).unlink()
    with pytest.raises(InputError, match="has no tokenizer"):
        OPENERS[opened](model, tmp_path)


def test_a_head_that_no_task_asks_for(model: Path):
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"architectures": ["BertForSequenceClassification"]}))
    with pytest.raises(
        InputError, match=r"2 weights of BertForSequenceClassification are not in its files \(classifier"
    ):
        open_source(model)


def test_a_head_that_a_task_asks_for_is_said(model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO", "dsformer")
    OPENERS["finetune"](model, tmp_path)
    assert "a new head for task.csv (classifier.bias, classifier.weight), to be trained" in caplog.text
    caplog.clear()
    shutil.copytree(tmp_path / "out", tmp_path / "trained")
    (tmp_path / "again").mkdir()
    OPENERS["finetune"](tmp_path / "trained", tmp_path / "again")
    assert "a new head" not in caplog.text


def test_a_head_that_was_lost_is_not_made_anew(model: Path, tmp_path: Path):
    OPENERS["finetune"](model, tmp_path)
    change_weights(tmp_path / "out", lambda found: {k: v for k, v in found.items() if k != "classifier.weight"})
    (tmp_path / "again").mkdir()
    with pytest.raises(InputError, match=r"1 weights of BertForSequenceClassification .* \(classifier.weight\)"):
        OPENERS["finetune"](tmp_path / "out", tmp_path / "again")


def test_a_table_of_another_size_is_no_head(model: Path, tmp_path: Path):
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"vocab_size": 300}))
    with pytest.raises(InputError, match=r"word_embeddings"):
        OPENERS["finetune"](model, tmp_path)


def test_a_pooler_that_nothing_reads_is_zero(model: Path, tmp_path: Path):
    """Encoders are often saved without one; sentence-transformers reads the hidden states alone."""
    change_weights(model, lambda found: {k: v for k, v in found.items() if "pooler" not in k})
    network = open_source(model).model
    assert not network.pooler.dense.weight.any()
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"architectures": ["BertForSequenceClassification"]}))
    with pytest.raises(InputError, match="pooler"):
        open_source(model)


def test_the_base_of_a_language_model_is_whole(tmp_path: Path):
    write_model(BertForMaskedLM(BertConfig(**sizes())), tmp_path)
    assert load_encoder(tmp_path, "cpu").encode(["the cat"]).shape == (1, 64)


def test_a_reranker_is_no_sentence_encoder(tmp_path: Path):
    from sentence_transformers import CrossEncoder

    write_model(BertForSequenceClassification(BertConfig(**sizes(num_labels=1))), tmp_path / "base")
    CrossEncoder(str(tmp_path / "base"), device="cpu").save(str(tmp_path / "reranker"))
    with pytest.raises(InputError, match="for sequence-classification, so it is no sentence encoder"):
        load_encoder(tmp_path / "reranker", "cpu")


CODE = """
from transformers import BertConfig, BertModel
open({marker!r}, "w").close()
class OwnConfig(BertConfig):
    model_type = "own"
class OwnModel(BertModel):
    config_class = OwnConfig
"""


@pytest.fixture
def with_code(tmp_path: Path) -> Path:
    """A model whose class is in a file beside it, which leaves a mark when it is run."""
    place = write_model(BertModel(BertConfig(**sizes())), tmp_path / "own")
    (place / "modeling_own.py").write_text(CODE.format(marker=str(tmp_path / "was-run")))
    config = json.loads((place / "config.json").read_text())
    own = {"AutoConfig": "modeling_own.OwnConfig", "AutoModel": "modeling_own.OwnModel"}
    changes = {"model_type": "own", "architectures": ["OwnModel"], "auto_map": own}
    (place / "config.json").write_text(json.dumps(config | changes))
    return place


@pytest.mark.parametrize("opened", OPENERS)
def test_code_of_a_model_is_not_run_unasked(opened: str, with_code: Path, tmp_path: Path):
    with pytest.raises(InputError, match=r"Python code of its own.*--trust-remote-code"):
        OPENERS[opened](with_code, tmp_path)
    assert not (tmp_path / "was-run").exists()


def test_code_of_a_model_that_is_trusted(with_code: Path, tmp_path: Path):
    out = tmp_path / "out"
    fields = {"ratio": 1.2, "texts": sentences(8), **QUICK}
    done = dsformer.compress(with_code, out, trust_remote_code=True, **fields)
    assert type(done.model).__name__ == "OwnModel"
    assert (tmp_path / "was-run").exists()
    assert (out / "modeling_own.py").is_file()
    ids = torch.arange(12).view(2, 6) + 5
    loaded = dsformer.load(out, trust_remote_code=True)
    with torch.no_grad():
        torch.testing.assert_close(loaded(ids)[0], done.model(ids)[0])
    with pytest.raises((InputError, dsformer.ArtefactError), match="--trust-remote-code"):
        dsformer.load(out)


def test_modules_with_code_are_not_run_unasked(model: Path, tmp_path: Path):
    """sentence-transformers runs code that comes with a local directory."""
    kind = "sentence_transformers.base.modules.transformer.Transformer"
    modules = [{"idx": i, "name": str(i), "path": "", "type": name} for i, name in enumerate([kind, "own_head.Head"])]
    (model / "modules.json").write_text(json.dumps(modules))
    (model / "own_head.py").write_text(CODE.format(marker=str(tmp_path / "was-run")))
    with pytest.raises(InputError, match=r"Python code of its own"):
        load_encoder(model, "cpu")
    assert not (tmp_path / "was-run").exists()


def test_tokenizers_without_files(tmp_path: Path):
    """Those of bytes need none."""
    BertModel(BertConfig(**sizes(vocab_size=400))).save_pretrained(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "ByT5Tokenizer"}')
    assert type(open_source(tmp_path).tokenizer).__name__ == "ByT5Tokenizer"
    word_tokenizer().save_pretrained(tmp_path)
    assert open_source(tmp_path).tokenizer("the cat")["input_ids"]
