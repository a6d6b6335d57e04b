"""Everything beside the weights travels, whatever its name; what stays is said."""

import json
import os
from pathlib import Path

import pytest
import torch
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer
from torch import nn
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    GenerationConfig,
)

import dsformer
from dsformer.errors import InputError
from dsformer.models.auxiliary_files import copy_auxiliary_files
from dsformer.models.directory import TRANSFORMER_CONFIGS, ModelDirectory
from fixtures.text import QUICK, sentences, sizes, word_tokenizer, write_model
from fixtures.typechecking import unchecked

FIELDS = {"ratio": 1.2, "texts": sentences(16), **QUICK}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A model's directory without a model."""
    source = tmp_path / "source"
    source.mkdir()
    for name in ("config.json", "model.safetensors", "README.md"):
        (source / name).write_text("of the old model")
    return source


def copied(source: Path, target: Path) -> list[str]:
    target.mkdir(exist_ok=True)
    copy_auxiliary_files(ModelDirectory.read(source), target)
    return sorted(str(path.relative_to(target)) for path in target.rglob("*") if path.is_file())


def test_names_do_not_matter(source: Path, tmp_path: Path):
    """Vocabularies, heads in files of their own (BGE-M3, SetFit), code, templates, licences."""
    names = [
        *("vocab.txt", "word_shape.json", "source.spm", "target_vocab.json", "prophetnet.tokenizer", "emoji.json"),
        *("colbert_linear.pt", "sparse_linear.pt", "model_head.pkl", "sparse_head.safetensors", "head.bin"),
        *("modeling_own.py", "LICENSE", "1_Own/config.json", "additional_chat_templates/tools.jinja", "task.yaml"),
    ]
    for name in names:
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_text(name)
    assert copied(source, tmp_path / "target") == sorted(names)


def test_what_is_left_behind_is_said(source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO", "dsformer")
    for name in (
        *("model.onnx", "onnx/model_int8.onnx", "openvino/openvino_model.bin", "tf_model.h5", "model.fp16.safetensors"),
        *("optimizer.pt", "rng_state.pth", "checkpoint-5/model.safetensors", "lora/adapter_config.json"),
        *("pytorch_model.bin", "model-00001-of-00002.safetensors", ".git/HEAD", "kept.txt"),
    ):
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_text("x")
    os.symlink("/etc", source / "link")
    assert copied(source, tmp_path / "target") == ["kept.txt"]
    assert "model.fp16.safetensors, model.onnx, onnx and 2 more (weights in another format)" in caplog.text
    assert "optimizer.pt, rng_state.pth (the state of a training)" in caplog.text
    assert "checkpoint-5, lora (a model of its own)" in caplog.text
    assert "link (a link to a folder)" in caplog.text


def test_what_is_there_stays(source: Path, tmp_path: Path):
    (source / "generation_config.json").write_text("old")
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "generation_config.json").write_text("new")
    copied(source, tmp_path / "target")
    assert (tmp_path / "target" / "generation_config.json").read_text() == "new"


@pytest.mark.parametrize("name", TRANSFORMER_CONFIGS)
def test_settings_of_a_transformer_under_all_their_names(name: str, tmp_path: Path):
    place = write_model(BertModel(BertConfig(**sizes())), tmp_path / "model")
    SentenceTransformer(modules=[Transformer(str(place)), Pooling(64)], device="cpu").save(str(tmp_path / "encoder"))
    (tmp_path / "encoder" / "sentence_bert_config.json").unlink()
    (tmp_path / "encoder" / name).write_text('{"max_seq_length": 8, "do_lower_case": false}')
    dsformer.compress(tmp_path / "encoder", tmp_path / "out", **FIELDS)
    assert SentenceTransformer(str(tmp_path / "out"), device="cpu").max_seq_length == 8


def test_modules_with_weights_of_their_own(tmp_path: Path):
    place = write_model(BertModel(BertConfig(**sizes())), tmp_path / "model")
    modules = [Transformer(str(place)), Pooling(64, pooling_mode="cls"), Dense(64, 16), Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save(str(tmp_path / "encoder"))
    dsformer.compress(tmp_path / "encoder", tmp_path / "out", **FIELDS)
    now = SentenceTransformer(str(tmp_path / "out"), device="cpu")
    assert [type(one).__name__ for one in now] == ["Transformer", "Pooling", "Dense", "Normalize"]
    torch.testing.assert_close(now[2].linear.weight, modules[2].linear.weight)


def test_generation_settings_travel(tmp_path: Path):
    place = write_model(BertModel(BertConfig(**sizes())), tmp_path / "model")
    GenerationConfig(max_new_tokens=7).save_pretrained(place)
    dsformer.compress(place, tmp_path / "out", **FIELDS)
    assert json.loads((tmp_path / "out" / "generation_config.json").read_text())["max_new_tokens"] == 7


def test_a_tokenizer_that_is_given_is_the_one_that_is_saved(tmp_path: Path):
    place = write_model(BertModel(BertConfig(**sizes())), tmp_path / "model")
    model, own = AutoModel.from_pretrained(place), word_tokenizer()
    own.add_tokens(["covid", "[URL]"])
    model.resize_token_embeddings(len(own))
    dsformer.compress(model, tmp_path / "out", tokenizer=own, **FIELDS)
    ids = own("the covid cat")["input_ids"]
    assert AutoTokenizer.from_pretrained(tmp_path / "out")("the covid cat")["input_ids"] == ids
    dsformer.compress(place, tmp_path / "other", tokenizer=own, **FIELDS)
    assert AutoTokenizer.from_pretrained(tmp_path / "other")("the covid cat")["input_ids"] == ids


def test_a_head_put_on_a_sentence_encoder_is_no_sentence_encoder(tmp_path: Path):
    """What is saved of a model in memory is what that is, whatever directory it came from."""
    place = write_model(BertModel(BertConfig(**sizes())), tmp_path / "model")
    SentenceTransformer(modules=[Transformer(str(place)), Pooling(64)], device="cpu").save(str(tmp_path / "encoder"))
    fields = {**FIELDS, "tokenizer": word_tokenizer()}
    classifier = AutoModelForSequenceClassification.from_pretrained(tmp_path / "encoder")
    dsformer.compress(classifier, tmp_path / "classifier", **fields)
    assert {"modules.json", "1_Pooling", "sentence_bert_config.json"}.isdisjoint(os.listdir(tmp_path / "classifier"))
    dsformer.compress(AutoModel.from_pretrained(tmp_path / "encoder"), tmp_path / "out", **fields)
    assert SentenceTransformer(str(tmp_path / "out"), device="cpu").encode(["the cat"]).shape == (1, 64)


def test_objects_of_sentence_transformers(tmp_path: Path):
    place = write_model(BertModel(BertConfig(**sizes())), tmp_path / "model")
    modules = [Transformer(str(place), max_seq_length=16), Pooling(64, pooling_mode="cls"), Normalize()]
    encoder = SentenceTransformer(modules=modules, device="cpu")
    before = encoder.encode(sentences(4, 1))
    dsformer.compress(encoder, tmp_path / "out", **FIELDS)
    loaded = SentenceTransformer(str(tmp_path / "out"), device="cpu")
    assert (loaded.max_seq_length, loaded[1].pooling_mode, len(loaded)) == (16, "cls", 3)
    after = loaded.encode(sentences(4, 1))
    assert abs(after - encoder.encode(sentences(4, 1))).max() < 1e-5  # the object was changed in place
    assert abs(after - before).max() > 1e-3

    place = write_model(BertForSequenceClassification(BertConfig(**sizes(num_labels=1))), tmp_path / "base")
    reranker = CrossEncoder(str(place), device="cpu")
    dsformer.compress(reranker, tmp_path / "reranker", **FIELDS)
    pairs = list(zip(sentences(4, 1), sentences(4, 2), strict=True))
    now = CrossEncoder(str(tmp_path / "reranker"), device="cpu").predict(pairs)
    assert abs(now - reranker.predict(pairs)).max() < 1e-5


def test_objects_that_cannot_be_taken():
    model = BertModel(BertConfig(**sizes()))
    for given, message in (
        (nn.DataParallel(model), "wrapped in DataParallel: give the model inside"),
        (torch.compile(model), "the model is compiled: give the one it was compiled from"),
        (nn.Linear(2, 2), "expected a directory, a hub name, .* not Linear"),
        (3, "expected a directory"),
        ("", "the name of the model is empty"),
        (SentenceTransformer(modules=[Pooling(64)], device="cpu"), "no transformer"),
    ):
        with unchecked(), pytest.raises(InputError, match=message):
            dsformer.compress(given, tokenizer=word_tokenizer(), **FIELDS)
    compiled = BertModel(BertConfig(**sizes()))
    compiled.compile()
    with pytest.raises(InputError, match="is compiled"):
        dsformer.compress(compiled, tokenizer=word_tokenizer(), **FIELDS)


def test_the_transformers_folder_comes_before_one_of_the_same_name_at_the_top(source: Path, tmp_path: Path):
    place = source / "0_Transformer"
    for folder, said in ((source, "top"), (place, "transformer")):
        (folder / "templates").mkdir(parents=True)
        (folder / "templates" / "chat.txt").write_text(said)
    (source / "templates" / "other.txt").write_text("top")
    target = tmp_path / "target"
    target.mkdir()
    copy_auxiliary_files(ModelDirectory(source, place), target)
    assert (target / "templates" / "chat.txt").read_text() == "transformer"
    assert (target / "templates" / "other.txt").read_text() == "top"
