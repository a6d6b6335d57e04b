"""Sparse x sparse, and Monarch as a special case of it, from the recipe to a directory, trained or not."""

from itertools import product
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, BertModel

import dsformer
from dsformer.errors import ArtefactError, InputError
from dsformer.nn.replace import densify
from dsformer.recipe import Recipe
from dsformer.report.inspection import inspect_directory
from fixtures.training import QUICK, reviews, said, write_sentence_encoder, write_texts

FIELDS = {**QUICK, "method": "double_sparse"}
BOTH = pytest.mark.parametrize(("method", "form"), [("double_sparse", "sparse x sparse"), ("monarch", "monarch")])


@BOTH
@pytest.mark.parametrize("factors", ["float", "int8", "int4"])
def test_both_factors_are_stored_sparse(
    base: Path, texts: list[str], tmp_path: Path, factors: str, method: str, form: str
):
    fields = {**FIELDS, "method": method}
    done = dsformer.compress(base, tmp_path / "out", texts=texts, factors=factors, **fields)
    assert all(block.dictionary_nonzeros for block in done.summary.blocks)
    assert all(block.form.startswith(form) for block in done.summary.blocks)
    assert all(block.support for block in done.summary.blocks) == (method == "double_sparse")
    assert done.summary.encoder_ratio >= FIELDS["ratio"]
    found = inspect_directory(tmp_path / "out")
    assert found.bytes_after == done.summary.bytes_after
    assert not found.differences
    loaded = AutoModel.from_pretrained(tmp_path / "out").eval()
    assert torch.equal(said(loaded), said(done.model))
    query = loaded.encoder.layer[0].attention.self.query
    assert query.dictionary.shape[1] < 64
    loaded.save_pretrained(tmp_path / "again")
    for file in (tmp_path / "out").glob("*.safetensors"):
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes()
    if factors == "float":
        densify(loaded)
        torch.testing.assert_close(said(loaded), said(done.model), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(
    ("method", "learner", "factors"),
    [
        *product(["double_sparse"], ["fixed", "alternate", "codes", "distill"], ["float", "int8"]),
        *product(["monarch"], ["fixed", "distill"], ["float"]),
    ],
)
def test_the_dictionary_stays_sparse_in_training(tmp_path: Path, method: str, learner: str, factors: str):
    fields = {**FIELDS, "method": method}
    text = write_texts(tmp_path / "texts.txt", 64)
    sentences = write_sentence_encoder(tmp_path / "sentences")
    learning = {"epochs": 2, "batch_size": 16, "learning_rate": 1e-3, "bf16": False}
    if learner == "distill":
        learning |= {"train": "distill", "text": text}
    else:
        task = tmp_path / "task.csv"
        task.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in reviews(96)))
        learning |= {"train": learner, "task": str(task)}
    done = dsformer.compress(sentences, tmp_path / "out", factors=factors, training=learning, **fields)
    found = inspect_directory(tmp_path / "out")
    assert not found.differences
    assert found.bytes_after == done.summary.bytes_after
    if learner == "distill":
        plain, dense = (
            dsformer.compress(sentences, factors=factors, **fields).model,
            BertModel.from_pretrained(sentences),
        )
        ids = torch.randint(5, 20, (16, 8), generator=torch.Generator().manual_seed(0))
        wanted = said(dense.eval(), ids)
        away = [float((said(model, ids) - wanted).square().mean()) for model in (done.model, plain)]
        assert away[0] < away[1]


def test_layers_can_be_fine_tuned_as_they_are(base: Path, texts: list[str]):
    model = dsformer.compress(base, texts=texts, **FIELDS).model.train()
    query = model.encoder.layer[0].attention.self.query
    before = query.form().dense()
    ids = torch.arange(14).view(2, 7) + 5
    out = model(input_ids=ids, attention_mask=torch.ones_like(ids))[0]
    (out * torch.randn(out.shape, generator=torch.Generator().manual_seed(0))).sum().backward()
    with torch.no_grad():
        query.dictionary -= 0.1 * query.dictionary.grad
    assert not torch.equal(query.form().dense(), before)
    x = torch.randn(3, 64)
    model.eval()
    expected = x @ query.form().dense().T + query.bias
    torch.testing.assert_close(query(x), expected, atol=1e-4, rtol=1e-3)


def test_a_damaged_support_is_refused(base: Path, texts: list[str], tmp_path: Path):
    from safetensors.torch import load_file, save_file

    dsformer.compress(base, tmp_path / "out", texts=texts, **FIELDS)
    file = tmp_path / "out" / "model.safetensors"
    tensors = load_file(file)
    name = next(name for name in tensors if name.endswith("dictionary_support"))
    tensors[name] = torch.zeros_like(tensors[name])
    save_file(tensors, file, {"format": "pt"})
    with pytest.raises(ArtefactError):
        dsformer.load(tmp_path / "out")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"scope": "all"}, "no form of a table"),
        ({"pattern": "2:4"}, "no supports to constrain|not 2:4"),
        ({"training": {"train": "stf", "task": "mrpc"}}, "trains with fixed"),
    ],
)
def test_what_it_cannot_do_is_refused(fields, said):
    with pytest.raises(InputError, match=said):
        Recipe().merged({"method": "double_sparse", **fields})
