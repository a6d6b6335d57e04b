"""Dictionaries shared by layers, from the recipe to a directory, trained or not."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoTokenizer, BertModel

import dsformer
from dsformer.errors import InputError
from dsformer.nn.replace import densify
from dsformer.recipe import Recipe
from dsformer.report.inspection import inspect_directory
from fixtures.training import QUICK, said, write_base, write_texts

FIELDS = {**QUICK, "share_dictionaries": True}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers whose weights are rows of the same spaces, so that one dictionary does for both."""
    directory = write_base(tmp_path_factory.mktemp("shared") / "base", 0.15)
    model, generator = BertModel.from_pretrained(directory), torch.Generator().manual_seed(0)
    first, second = (dict(layer.named_parameters()) for layer in model.encoder.layer)
    for name, weight in first.items():
        if weight.ndim == 2:
            rows, columns = weight.shape
            space = torch.randn(20, columns, generator=generator) * 0.1
            for one in (weight, second[name]):
                one.data = torch.randn(rows, 20, generator=generator) @ space
    model.save_pretrained(directory)
    return directory


@pytest.mark.parametrize("factors", ["float", "int8", "int4"])
def test_shared_dictionaries_are_stored_once(base: Path, texts: list[str], tmp_path: Path, factors: str):
    done = dsformer.compress(base, tmp_path / "out", texts=texts, factors=factors, **FIELDS)
    pairs = [block for block in done.summary.blocks if block.inputs == 2]
    assert pairs, "layers of the same spaces share"
    assert all(name.startswith("encoder.layer.0") for block in pairs for name in block.names[: len(block.names) // 2])
    found = inspect_directory(tmp_path / "out")
    assert found.bytes_after == done.summary.bytes_after
    assert not found.differences
    assert done.summary.encoder_ratio >= FIELDS["ratio"]
    loaded = AutoModel.from_pretrained(tmp_path / "out").eval()
    assert torch.equal(said(loaded), said(done.model))
    holders = {name.rsplit(".", 1)[0] for name in loaded.state_dict() if name.endswith(".dictionary")}
    for block in pairs:
        assert holders & set(block.names) == {block.names[0]}
    loaded.save_pretrained(tmp_path / "again")
    assert torch.equal(said(AutoModel.from_pretrained(tmp_path / "again").eval()), said(loaded))
    if factors == "float":
        densify(loaded)
        torch.testing.assert_close(said(loaded), said(done.model), atol=1e-4, rtol=1e-3)


def test_sharing_lowers_the_error_at_equal_bytes(base: Path, texts: list[str]):
    alone = dsformer.compress(base, texts=texts, **FIELDS | {"share_dictionaries": False}).summary
    shared = dsformer.compress(base, texts=texts, **FIELDS).summary
    assert shared.mean_error < alone.mean_error
    assert shared.bytes_after <= alone.bytes_after * 1.01


def test_layers_share_only_where_it_lowers_the_error(texts: list[str], tmp_path: Path):
    unlike = write_base(tmp_path / "unlike", 0.15)
    done = dsformer.compress(unlike, texts=texts, **FIELDS).summary.blocks
    separate = dsformer.compress(unlike, texts=texts, **FIELDS | {"share_dictionaries": False}).summary.blocks
    errors = {block.names: block.error for block in separate}
    assert {block.inputs for block in done} == {1, 2}
    for block in done:
        half = len(block.names) // 2
        members = [block.names] if block.inputs == 1 else [block.names[:half], block.names[half:]]
        apart = [errors[names] for names in members]
        assert block.error <= sum(apart) / len(apart)


def test_low_rank_shares_too(base: Path, texts: list[str], tmp_path: Path):
    done = dsformer.compress(base, tmp_path / "out", texts=texts, method="low_rank", **FIELDS)
    assert any(block.inputs == 2 and block.form == "low rank" for block in done.summary.blocks)
    assert torch.equal(said(AutoModel.from_pretrained(tmp_path / "out").eval()), said(done.model))


@pytest.mark.parametrize("factors", ["float", "int8"])
def test_shared_dictionaries_are_trained(base: Path, tmp_path: Path, factors: str):
    text = write_texts(tmp_path / "texts.txt", 64)
    learning = {"train": "distill", "text": text, "epochs": 2, "batch_size": 16, "learning_rate": 1e-3, "bf16": False}
    sentences = tmp_path / "sentences"
    sentences.mkdir()
    BertModel.from_pretrained(base).save_pretrained(sentences)
    AutoTokenizer.from_pretrained(base).save_pretrained(sentences)
    done = dsformer.compress(sentences, tmp_path / "out", factors=factors, training=learning, **FIELDS)
    plain = dsformer.compress(sentences, factors=factors, **FIELDS)
    pairs = [block for block in done.summary.blocks if block.inputs == 2]
    assert pairs
    assert not inspect_directory(tmp_path / "out").differences
    dense = BertModel.from_pretrained(sentences).eval()
    ids = torch.randint(5, 20, (16, 8), generator=torch.Generator().manual_seed(0))

    def away(model) -> float:
        return float((said(model, ids) - said(dense, ids)).square().mean())

    assert away(AutoModel.from_pretrained(tmp_path / "out").eval()) < away(plain.model)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"method": "pruning"}, "goes with method dense_sparse or low_rank"),
        ({"pattern": "grouped(8)"}, "pattern free"),
        ({"training": {"train": "stf", "task": "mrpc"}}, "train one of fixed"),
    ],
)
def test_what_cannot_share_is_refused(fields, said):
    with pytest.raises(InputError, match=said):
        Recipe().merged({"share_dictionaries": True, **fields})
