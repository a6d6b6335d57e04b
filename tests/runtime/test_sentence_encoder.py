"""Sentence encoders: the vectors of SentenceTransformer."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules as kinds

from dsformer_runtime import RuntimeInputError, SentenceEncoder, UnsupportedModelError, load
from fixtures.families import FAMILIES, write_family

TEXTS = ["The Cat walks over the red house.", "big dogs sleep", "", "zebra, and the old river 7 runs " * 12, "a"]
PROMPTS = {"query": "the red: ", "none": ""}


def save(place: Path, modules: list[Any], **more: Any) -> SentenceTransformer:
    """A model with random weights, saved."""
    torch.manual_seed(1)
    model = SentenceTransformer(modules=modules, device="cpu", **more)
    with torch.no_grad():
        for module in modules[1:]:
            for parameter in module.parameters():
                torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(str(place))
    return model


def same(ours: np.ndarray, theirs: np.ndarray) -> None:
    assert ours.shape == theirs.shape
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=2e-5)


def transformer(place: Path, family: str = "bert", **more: Any) -> Any:
    write_family(place / "plain", family)
    return kinds.Transformer(str(place / "plain"), **more)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family(family: str, tmp_path: Path):
    first = transformer(tmp_path, family)
    theirs = save(tmp_path / "saved", [first, kinds.Pooling(32), kinds.Normalize()])
    ours = load(tmp_path / "saved", backend="reference")
    assert isinstance(ours, SentenceEncoder)
    assert (ours.max_seq_length, ours.width) == (64, 32)

    same(ours.encode(TEXTS), theirs.encode(TEXTS))
    same(ours.encode(TEXTS[0]), theirs.encode(TEXTS[0]))


@pytest.mark.parametrize("mode", [*kinds.Pooling.POOLING_MODES, ("cls", "mean"), ("max", "lasttoken", "weightedmean")])
@pytest.mark.parametrize("include", [True, False])
def test_poolings(mode: Any, include: bool, tmp_path: Path):
    pooling = kinds.Pooling(32, pooling_mode=mode, include_prompt=include)
    theirs = save(tmp_path / "saved", [transformer(tmp_path), pooling], prompts=PROMPTS)
    ours = SentenceEncoder(tmp_path / "saved", backend="reference")
    for more in ({}, {"prompt_name": "query"}, {"prompt": "a "}, {"prompt_name": "none"}):
        same(ours.encode(TEXTS, **more), theirs.encode(TEXTS, **more))


@pytest.mark.parametrize("activation", [torch.nn.Tanh(), torch.nn.Identity(), torch.nn.GELU()])
def test_modules_after_pooling(activation: torch.nn.Module, tmp_path: Path):
    after = [
        kinds.Dense(32, 24, activation_function=activation),
        kinds.Dense(24, 16, bias=False, use_residual=True),
        kinds.Dense(16, 16, use_residual=True),
        kinds.LayerNorm(16),
        kinds.Normalize(),
    ]
    theirs = save(tmp_path / "saved", [transformer(tmp_path), kinds.Pooling(32, "cls"), *after])
    ours = SentenceEncoder(tmp_path / "saved", backend="reference")
    for more in ({}, {"truncate_dim": 5}, {"truncate_dim": 5, "normalize_embeddings": True, "batch_size": 1}):
        same(ours.encode(TEXTS, **more), theirs.encode(TEXTS, **more))


def test_settings(tmp_path: Path):
    first = transformer(tmp_path, max_seq_length=10)
    theirs = save(tmp_path / "saved", [first, kinds.Pooling(32)], prompts=PROMPTS, default_prompt_name="query")
    ours = SentenceEncoder(tmp_path / "saved", backend="reference")
    assert ours.max_seq_length == 10
    same(ours.encode(TEXTS), theirs.encode(TEXTS))


def test_older_names(tmp_path: Path):
    """Files as sentence-transformers before 6 wrote them."""
    theirs = save(tmp_path / "saved", [transformer(tmp_path), kinds.Pooling(32), kinds.Normalize()])
    path = tmp_path / "saved" / "modules.json"
    listed = json.loads(path.read_text())
    for one in listed:
        one["type"] = "sentence_transformers.models." + one["type"].rpartition(".")[2]
    path.write_text(json.dumps(listed))
    flags = {"word_embedding_dimension": 32, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}
    (tmp_path / "saved" / "1_Pooling" / "config.json").write_text(json.dumps(flags))
    older = {"max_seq_length": 20, "do_lower_case": True}
    (tmp_path / "saved" / "sentence_bert_config.json").write_text(json.dumps(older))
    theirs = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    same(SentenceEncoder(tmp_path / "saved", backend="reference").encode(TEXTS), theirs.encode(TEXTS))


def test_a_list_of_tokens_alone(tmp_path: Path):
    """BERT's ``vocab.txt`` without ``tokenizer.json``."""
    write_family(tmp_path / "plain", "bert")
    whole = SentenceEncoder(tmp_path / "plain", backend="reference").encode(TEXTS)
    tokens = json.loads((tmp_path / "plain" / "tokenizer.json").read_text())["model"]["vocab"]
    (tmp_path / "plain" / "vocab.txt").write_text("\n".join(sorted(tokens, key=lambda token: tokens[token])))
    (tmp_path / "plain" / "tokenizer.json").unlink()
    same(SentenceEncoder(tmp_path / "plain", backend="reference").encode(TEXTS), whole)


def test_what_is_refused(tmp_path: Path):
    save(tmp_path / "saved", [transformer(tmp_path), kinds.Pooling(32)])
    ours = SentenceEncoder(tmp_path / "saved", backend="reference")
    assert ours.encode([]).shape == (0, 32)
    for given, what in ((["a", None], "text 1"), (3, "neither"), ({"a"}, None)):
        if what is not None:
            with pytest.raises(RuntimeInputError, match=what):
                ours.encode(given)  # type: ignore[arg-type]
    with pytest.raises(RuntimeInputError, match="prompt_name"):
        ours.encode("a", prompt_name="absent")
    with pytest.raises(RuntimeInputError, match="batch_size"):
        ours.encode("a", batch_size=0)
    with pytest.raises(RuntimeInputError, match="dtype"):
        SentenceEncoder(tmp_path / "saved", dtype="int3")
    with pytest.raises(RuntimeInputError, match="no such directory"):
        SentenceEncoder(tmp_path / "absent")
    path = tmp_path / "saved" / "1_Pooling" / "config.json"
    path.write_text(json.dumps({"pooling_mode": "attention"}))
    with pytest.raises(UnsupportedModelError, match="attention"):
        SentenceEncoder(tmp_path / "saved")
    (tmp_path / "saved" / "tokenizer.json").unlink()
    with pytest.raises(RuntimeInputError, match=r"no tokenizer\.json"):
        SentenceEncoder(tmp_path / "saved")
