"""The class a model is opened in, and models of sentence-transformers for other tasks than embeddings."""

import json
from pathlib import Path

import pytest
import torch
import transformers
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    MarianConfig,
    MarianModel,
    T5Config,
    T5Model,
)

import dsformer
from dsformer.errors import InputError
from dsformer.models.architectures import find_model_class, get_architecture
from dsformer.models.opening import check_config
from dsformer.models.source import open_source
from fixtures.text import QUICK, sentences, sizes, write_model

SIZES = {"vocab_size": sizes()["vocab_size"], "d_model": 64, "decoder_start_token_id": 0, "pad_token_id": 0}
T5 = T5Config(d_kv=16, d_ff=128, num_layers=2, num_heads=4, **SIZES)
MARIAN = MarianConfig(
    **{f"{part}_{name}": value for part in ("encoder", "decoder") for name, value in
       {"layers": 2, "attention_heads": 4, "ffn_dim": 128}.items()},
    max_position_embeddings=64, eos_token_id=3, **SIZES,
)  # fmt: skip


def as_module(directory: Path, task: str | None = None) -> Path:
    """Make a directory one of sentence-transformers, whose transformer is for a task."""
    kind = "sentence_transformers.base.modules.transformer.Transformer"
    (directory / "modules.json").write_text(json.dumps([{"idx": 0, "name": "0", "path": "", "type": kind}]))
    settings = {} if task is None else {"transformer_task": task}
    (directory / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 64, **settings}))
    return directory


def test_a_reranker_keeps_its_head(tmp_path: Path):
    write_model(BertForSequenceClassification(BertConfig(**sizes(num_labels=1))), tmp_path / "base")
    CrossEncoder(str(tmp_path / "base"), device="cpu").save(str(tmp_path / "reranker"))
    assert (tmp_path / "reranker" / "modules.json").is_file()
    dsformer.compress(tmp_path / "reranker", tmp_path / "out", ratio=1.01, texts=sentences(32), **QUICK)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["architectures"] == ["BertForSequenceClassification"]
    pairs = list(zip(sentences(6, 1), sentences(6, 2), strict=True))
    was, now, again = (
        CrossEncoder(str(tmp_path / place), device="cpu").predict(pairs) for place in ("reranker", "out", "out")
    )
    assert abs(now - again).max() < 1e-6
    assert abs(now - was).max() < 0.2


@pytest.mark.parametrize(
    ("task", "model", "name"),
    [
        ("fill-mask", BertForMaskedLM(BertConfig(**sizes())), "BertForMaskedLM"),
        ("text-generation", LlamaForCausalLM(LlamaConfig(**sizes())), "LlamaForCausalLM"),
        ("feature-extraction", BertForMaskedLM(BertConfig(**sizes())), "BertModel"),
        ("feature-extraction", T5Model(T5), "T5EncoderModel"),
        (None, T5Model(T5), "T5EncoderModel"),
    ],
)
def test_the_class_of_a_task(task: str | None, model: transformers.PreTrainedModel, name: str, tmp_path: Path):
    write_model(model, tmp_path)
    assert type(open_source(as_module(tmp_path, task)).model).__name__ == name


@pytest.mark.parametrize("model", [T5Model(T5), MarianModel(MARIAN)], ids=["T5", "Marian"])
def test_an_encoder_out_of_an_encoder_decoder(model: transformers.PreTrainedModel, tmp_path: Path):
    """sentence-transformers embeds with the encoder alone; so does what is made of it."""
    write_model(model, tmp_path / "base")
    encoder = SentenceTransformer(modules=[Transformer(str(tmp_path / "base")), Pooling(64)], device="cpu")
    encoder.save(str(tmp_path / "encoder"))
    done = dsformer.compress(tmp_path / "encoder", tmp_path / "out", ratio=1.05, texts=sentences(32), **QUICK)
    was, now = (SentenceTransformer(str(tmp_path / place), device="cpu") for place in ("encoder", "out"))
    texts = sentences(4, 1)
    close = torch.cosine_similarity(torch.tensor(was.encode(texts)), torch.tensor(now.encode(texts)))
    assert close.min() > 0.95
    ids = now.tokenize(texts)
    with torch.no_grad():
        memory, disk = (
            m(ids["input_ids"], ids["attention_mask"])[0] for m in (done.model, dsformer.load(tmp_path / "out"))
        )
    torch.testing.assert_close(memory, disk)


def test_an_encoder_whose_weights_have_other_names(tmp_path: Path):
    """sentence-transformers 6.2 opens Marian's encoder from the whole model's weights and finds none of them."""
    write_model(MarianModel(MARIAN), tmp_path)
    with pytest.raises(InputError, match="34 weights of MarianEncoder are not in its files"):
        open_source(as_module(tmp_path))


@pytest.mark.parametrize(
    ("task", "message"),
    [("any-to-any", "is not of text alone"), ("retrieval", "is not of text alone"), ("dancing", "is not one of")],
)
def test_tasks_that_cannot_be_compressed(task: str, message: str, tmp_path: Path):
    write_model(LlamaForCausalLM(LlamaConfig(**sizes())), tmp_path)
    with pytest.raises(InputError, match=f"'{task}', which {message}"):
        open_source(as_module(tmp_path, task))


@pytest.mark.parametrize("names", [3, {"a": 1}, [1], "BertModel"])
def test_architectures_of_other_types(names: object, tmp_path: Path):
    write_model(BertForMaskedLM(BertConfig(**sizes())), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"architectures": names}))
    with pytest.raises(InputError) as error:
        open_source(tmp_path)
    assert "\n" not in str(error.value)


def test_names_of_classes():
    assert find_model_class("BertModel", BertConfig()) is transformers.BertModel
    assert find_model_class("MarianEncoder", MARIAN).__name__ == "MarianEncoder"
    assert find_model_class("BertConfig", BertConfig()) is None
    assert find_model_class("NoSuchModel", BertConfig()) is None
    assert get_architecture(BertConfig()) == ""


def test_sizes_of_layers_that_differ():
    """Some configurations raise errors of their own where one is asked for what every layer has another of."""

    class Differing(BertConfig):
        @property
        def num_key_value_heads(self) -> int:
            raise RuntimeError("ask a layer")

    check_config(Differing())
    with pytest.raises(InputError, match="num_attention_heads is 0"):
        check_config(BertConfig(num_attention_heads=0))
