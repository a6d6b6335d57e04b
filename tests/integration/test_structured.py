"""Structured pruning from the recipe to a directory, trained or not."""

from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoTokenizer, BertModel

import dsformer
from dsformer.errors import InputError
from dsformer.nn.linear import DenseSparseLinear
from dsformer.nn.replace import densify
from dsformer.recipe import Recipe
from dsformer.report.inspection import inspect_directory
from fixtures.training import QUICK, said, write_base, write_sentence_encoder, write_task, write_texts

FIELDS = {**QUICK, "method": "structured", "allocation": "balanced", "ratio": 2.0}


@pytest.mark.parametrize("factors", ["float", "int8", "int4"])
def test_layers_are_really_narrower(base: Path, texts: list[str], tmp_path: Path, factors: str):
    done = dsformer.compress(base, tmp_path / "out", texts=texts, factors=factors, **FIELDS)
    # Of so small a model every head is a large part.
    assert 1.98 < done.summary.encoder_ratio < 2.2
    found = inspect_directory(tmp_path / "out")
    assert found.bytes_after == done.summary.bytes_after
    assert not found.differences
    assert found.encoder_ratio == pytest.approx(done.summary.encoder_ratio, rel=1e-6)
    loaded = AutoModel.from_pretrained(tmp_path / "out").eval()
    assert torch.equal(said(loaded), said(done.model))
    ups = [layer.intermediate.dense for layer in loaded.encoder.layer]
    downs = [layer.output.dense for layer in loaded.encoder.layer]
    assert all(up.out_features == down.in_features < 128 for up, down in zip(ups, downs, strict=True))
    heads = [layer.attention.self for layer in loaded.encoder.layer]
    assert all(one.num_attention_heads * 16 == one.query.out_features == one.all_head_size for one in heads)
    loaded.save_pretrained(tmp_path / "again")
    assert torch.equal(said(AutoModel.from_pretrained(tmp_path / "again").eval()), said(loaded))


def test_nothing_that_stays_is_lost_when_it_can_all_be_made_up_for(base: Path, texts: list[str], tmp_path: Path):
    dense = BertModel.from_pretrained(base)
    for layer in dense.encoder.layer:
        # Half of the neurons are copies of the others.
        layer.intermediate.dense.weight.data[64:] = layer.intermediate.dense.weight.data[:64]
        layer.intermediate.dense.bias.data[64:] = layer.intermediate.dense.bias.data[:64]
        layer.output.dense.weight.data[:, 64:].normal_(0, 0.15)
    tokenizer = AutoTokenizer.from_pretrained(base)
    ids = tokenizer(texts[0], return_tensors="pt")["input_ids"]
    expected = said(dense.eval(), ids)
    fields = {**FIELDS, "ratio": 1.15, "ridge": 1e-6}
    done = dsformer.compress(dense, tokenizer=tokenizer, texts=texts, **fields)
    assert all(block.error < 0.02 for block in done.summary.blocks if "output.dense" in block.names[0])
    assert float((said(done.model, ids) - expected).abs().mean()) < 0.03


def test_dense_copies_have_the_old_shapes(base: Path, texts: list[str], tmp_path: Path):
    done = dsformer.compress(base, tmp_path / "out", texts=texts, **FIELDS)
    expected = said(done.model)
    dsformer.densify(tmp_path / "out", tmp_path / "dense")
    again = AutoModel.from_pretrained(tmp_path / "dense").eval()
    torch.testing.assert_close(said(again), expected, rtol=1e-4, atol=1e-5)
    assert again.encoder.layer[0].intermediate.dense.out_features == 128
    densify(done.model)
    torch.testing.assert_close(said(done.model), expected, rtol=1e-4, atol=1e-5)
    assert done.model.encoder.layer[0].attention.self.num_attention_heads == 4


@pytest.mark.parametrize("distill", [pytest.param("none", marks=pytest.mark.slow), "logits+hidden+relations"])
def test_training(base: Path, tmp_path: Path, distill: str):
    training = {"train": "fixed", "task": str(write_task(tmp_path / "task.csv")), "distill": distill, "epochs": 10.0}
    training |= {"learning_rate": 1e-3, "bf16": False}
    done = dsformer.compress(base, tmp_path / "out", **FIELDS, training=training)
    assert done.summary.training is not None
    assert done.summary.training.trained > 80
    loaded = dsformer.load(tmp_path / "out")
    assert torch.equal(said(loaded), said(done.model.eval()))
    assert loaded.bert.encoder.layer[0].intermediate.dense.out_features < 128


def test_distillation_of_a_sentence_encoder(tmp_path: Path):
    source = write_sentence_encoder(tmp_path / "source")
    training = {"train": "distill", "text": str(write_texts(tmp_path / "texts.txt")), "bf16": False}
    done = dsformer.compress(source, tmp_path / "out", **FIELDS, training=training)
    assert isinstance(done.model.encoder.layer[0].output.dense, DenseSparseLinear)
    assert done.summary.encoder_ratio == pytest.approx(2.0, rel=0.03)


def test_ratios_that_cannot_be_reached(base: Path, texts: list[str], tmp_path: Path):
    with pytest.raises(InputError, match=r"the ratio cannot be reached: heads .* \(at most \d"):
        dsformer.compress(base, tmp_path / "out", texts=texts, **{**FIELDS, "ratio": 14.0})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"embeddings": True}, "embeddings: method structured has no form of a table"),
        ({"scope": "all"}, "embeddings: method structured has no form of a table"),
        ({"pattern": "2:4"}, "pattern: method structured has no supports"),
        ({"training": {"train": "stf", "task": "mrpc"}}, "training: method structured has no supports to learn"),
    ],
)
def test_recipes_that_make_no_sense(fields: dict, message: str):
    with pytest.raises(InputError, match=message):
        Recipe().merged({"method": "structured", **fields})


def deep(directory: Path, layers: int = 6) -> Path:
    """A BERT of more layers."""
    write_base(directory, 0.15)
    torch.manual_seed(1)
    config = AutoConfig.from_pretrained(directory)
    config.num_hidden_layers = layers
    BertModel(config).save_pretrained(directory)
    return directory


@pytest.mark.parametrize(("ratio", "layers"), [(1.8, [1, 2, 3, 5]), (2.0, [1, 3, 5]), (2.5, [1, 3, 5]), (4.0, [2, 5])])
def test_students_have_some_of_the_layers(texts: list[str], tmp_path: Path, ratio: float, layers: list[int]):
    source = deep(tmp_path / "deep")
    dense = BertModel.from_pretrained(source)
    done = dsformer.compress(source, tmp_path / "out", texts=texts, **{**FIELDS, "method": "student", "ratio": ratio})
    assert ratio * 0.98 < done.summary.encoder_ratio < 1.2 * ratio
    loaded = AutoModel.from_pretrained(tmp_path / "out").eval()
    assert loaded.config.num_hidden_layers == len(layers)
    for layer, number in zip(loaded.encoder.layer, layers, strict=True):
        assert torch.equal(layer.output.LayerNorm.weight, dense.encoder.layer[number].output.LayerNorm.weight)
        own = layer.intermediate.dense.form().dense()
        rows = dense.encoder.layer[number].intermediate.dense.weight
        assert bool((torch.cdist(own, rows).min(1).values < 0.01).all())
    before = sum(tensor.numel() * tensor.element_size() for tensor in dense.state_dict().values())
    assert done.summary.bytes_before == pytest.approx(before, rel=1e-3)
    found = inspect_directory(tmp_path / "out")
    assert (found.bytes_before, found.bytes_after) == (done.summary.bytes_before, done.summary.bytes_after)
    assert found.encoder_ratio == pytest.approx(done.summary.encoder_ratio)


@pytest.mark.parametrize(
    "distill", ["logits+hidden+relations", pytest.param("logits+hidden+attention", marks=pytest.mark.slow)]
)
def test_students_follow_their_teacher(tmp_path: Path, distill: str):
    source = deep(tmp_path / "deep", 4)
    training = {"train": "fixed", "task": str(write_task(tmp_path / "task.csv")), "epochs": 10.0, "bf16": False}
    training |= {"learning_rate": 1e-3, "distill": distill}
    done = dsformer.compress(
        source, tmp_path / "out", **{**FIELDS, "method": "student", "ratio": 2.6}, training=training
    )
    assert done.summary.training is not None
    assert done.summary.training.trained > 80
    loaded = dsformer.load(tmp_path / "out")
    assert loaded.config.num_hidden_layers == 2
    heads = {layer.attention.self.query.out_features for layer in loaded.bert.encoder.layer}
    assert (heads == {loaded.config.hidden_size}) == ("attention" in distill)
