"""The record an artefact has of itself: what was not written is refused, what may change is not."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel

import dsformer
from dsformer.errors import ArtefactError
from dsformer.format.precision import INT8
from dsformer.models.artefact import check, save
from fixtures.artefacts import without_record
from fixtures.models import compress, inputs, tiny_model

CLASS = "DistilBertForSequenceClassification"
Q = "distilbert.transformer.layer.0.attention.q_lin"
ROADS = [dsformer.load, AutoModel.from_pretrained, transformers.DistilBertForSequenceClassification.from_pretrained]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    whole = tiny_model(CLASS)
    compress(whole)
    rounded = tiny_model(CLASS)
    compress(rounded, precision=INT8)
    folder = tmp_path_factory.mktemp("artefacts")
    return {
        "whole": save(whole, folder / "whole"),
        "rounded": save(rounded, folder / "rounded"),
        "sharded": save(whole, folder / "sharded", max_shard_size="15KB"),
    }


@pytest.fixture
def directory(places: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(places["whole"], tmp_path / "m"))


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(**inputs(model))[0]


def edit(directory: Path, change: Callable[[dict], object]) -> None:
    path = directory / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


def rewrite(file: Path, change: Callable[[dict], object]) -> None:
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, {"format": "pt"})


def refused(directory: Path, message: str) -> None:
    for road in ROADS:
        with pytest.raises(ArtefactError, match=message) as caught:
            road(directory)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["whole", "rounded", "sharded"])
def test_every_changed_tensor_is_found(places: dict[str, Path], tmp_path: Path, kind: str):
    directory = Path(shutil.copytree(places[kind], tmp_path / "m"))
    check(directory, values=True)
    for file in sorted(directory.glob("*.safetensors")):
        before = file.read_bytes()
        for name in load_file(file):
            rewrite(file, lambda tensors, name=name: tensors[name].view(-1).view(torch.uint8)[:1].bitwise_xor_(1))
            with pytest.raises(ArtefactError, match=f"{file.name}: {name} is damaged: its checksum"):
                check(directory, values=True)
            file.write_bytes(before)
    rewrite(file, lambda tensors: tensors[name].view(-1).view(torch.uint8)[:1].bitwise_xor_(1))
    refused(directory, f"{name} is damaged")


def test_tensors_that_changed_places(directory: Path):
    other = Q.replace("q_lin", "k_lin")

    def swap(tensors: dict) -> None:
        tensors[f"{Q}.weight"], tensors[f"{other}.weight"] = tensors[f"{other}.weight"], tensors[f"{Q}.weight"]

    rewrite(directory / "model.safetensors", swap)
    refused(directory, "is damaged")


def test_tensors_too_many_and_too_few(directory: Path):
    file = directory / "model.safetensors"
    rewrite(file, lambda tensors: tensors.update(more=torch.ones(1)))
    refused(directory, "more: is in the weights, but was not written with them")
    rewrite(file, lambda tensors: (tensors.pop("more"), tensors.pop("classifier.bias")))
    refused(directory, "classifier.bias is not in the weights")


def test_a_part_of_another_artefact(places: dict[str, Path], tmp_path: Path):
    directory = Path(shutil.copytree(places["sharded"], tmp_path / "m"))
    other = tiny_model(CLASS)
    compress(other)
    torch.nn.init.ones_(other.classifier.bias)
    save(other, tmp_path / "other", max_shard_size="15KB")
    name = json.loads((directory / "model.safetensors.index.json").read_text())["weight_map"]["classifier.bias"]
    shutil.copyfile(tmp_path / "other" / name, directory / name)
    refused(directory, "is damaged")


# No header tells these.
UNSEEN: dict[str, Callable[[dict], object]] = {
    "activation": lambda config: config.update(activation="relu"),
    "heads": lambda config: config.update(n_heads=2),
    "a field that was at its default": lambda config: config.update(chunk_size_feed_forward=1),
    "a field taken out": lambda config: config.pop("max_position_embeddings"),
    "type": lambda config: config.update(dtype="bfloat16"),
    "class": lambda config: config.update(architectures=["DistilBertModel"]),
    "core": lambda config: next(
        block.update(core=block["core"] - 1, nonzeros=block["nonzeros"] + 1)
        for block in config["quantization_config"]["blocks"]
        if block.get("core", 0) > 1
    ),
    "order": lambda config: next(
        block["members"].reverse() for block in config["quantization_config"]["blocks"] if len(block["members"]) > 2
    ),
}


@pytest.mark.parametrize("change", UNSEEN.values(), ids=UNSEEN)
def test_another_configuration(directory: Path, change: Callable[[dict], object]):
    edit(directory, change)
    refused(directory, "DSFORMER_VERIFY=0")


FREE: dict[str, Callable[[dict], object]] = {
    "labels": lambda config: config.update(id2label={"0": "no", "1": "yes"}, label2id={"no": 0, "yes": 1}),
    "names": lambda config: config.update(_name_or_path="x", transformers_version="9.0.0", problem_type="regression"),
    "summary": lambda config: config["quantization_config"].update(summary={"a": 1}, package_version="2"),
    "a default that is written out": lambda config: config.update(chunk_size_feed_forward=0),
    "a default that is not": lambda config: config.pop("attention_dropout"),
}


@pytest.mark.parametrize("change", FREE.values(), ids=FREE)
def test_what_a_user_may_change(directory: Path, change: Callable[[dict], object]):
    expected = logits(dsformer.load(directory))
    edit(directory, change)
    for road in (ROADS[0], ROADS[2]):
        assert torch.equal(logits(road(directory)), expected)
    AutoModel.from_pretrained(directory)


def test_the_switch(directory: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DSFORMER_VERIFY", "0")
    edit(directory, UNSEEN["heads"])
    rewrite(directory / "model.safetensors", lambda tensors: tensors["classifier.bias"].fill_(2))
    for road in ROADS:
        road(directory)
    rewrite(directory / "model.safetensors", lambda tensors: tensors["classifier.bias"].fill_(float("nan")))
    refused(directory, "NaN")


def test_without_a_record(directory: Path):
    """As it was written before."""
    expected = logits(dsformer.load(directory))
    without_record(directory)
    assert torch.equal(logits(dsformer.load(directory)), expected)
    check(directory, values=True)


NOTHING: dict = {"tensors": {}, "blocks": "", "config": {}}
DAMAGED = [[], "", {}, {**NOTHING, "tensors": 5}, {**NOTHING, "tied": [1]}, {**NOTHING, "more": 1}]


@pytest.mark.parametrize("record", DAMAGED, ids=str)
def test_a_damaged_record(directory: Path, record: object):
    edit(directory, lambda config: config["quantization_config"].update(written=record))
    refused(directory, "its record of checksums is damaged|written: not an object")


@pytest.mark.parametrize("shards", [{}, {"max_shard_size": "15KB"}], ids=["one file", "shards"])
@pytest.mark.parametrize("loader", [transformers.DistilBertForSequenceClassification, transformers.DistilBertModel])
def test_what_transformers_writes_has_a_record_of_its_own(directory: Path, tmp_path: Path, loader: type, shards: dict):
    """Not that of the files the model came from, of which it may be a part, and trained."""
    model = loader.from_pretrained(directory)
    with torch.no_grad():
        model.get_submodule(Q.removeprefix("distilbert.") if loader is not ROADS[2].__self__ else Q).bias += 1
    model.config.pad_token_id = 1
    model.save_pretrained(tmp_path / "again", **shards)
    check(tmp_path / "again", values=True)
    assert torch.equal(logits(dsformer.load(tmp_path / "again")), logits(model))
    edit(tmp_path / "again", lambda config: config.update(pad_token_id=0))
    with pytest.raises(ArtefactError, match="pad_token_id is 0, 1 was written"):
        check(tmp_path / "again")


def test_a_configuration_written_again_by_itself(directory: Path):
    AutoConfig.from_pretrained(directory).save_pretrained(directory)
    for road in ROADS:
        road(directory)
    edit(directory, lambda config: config.update(AutoConfig.from_pretrained(directory).to_dict()))
    for road in ROADS:
        road(directory)


def test_a_configuration_saved_by_itself_has_none(directory: Path, tmp_path: Path):
    """Nobody knows what weights will be put beside it."""
    model = ROADS[2](directory)
    model.config.save_pretrained(tmp_path / "alone")
    assert "written" not in json.loads((tmp_path / "alone" / "config.json").read_text())["quantization_config"]


@pytest.mark.parametrize("name", ["T5ForConditionalGeneration", "GPT2LMHeadModel", "BertForMaskedLM"])
def test_tied_tensors_are_stored_under_one_of_their_names(name: str, tmp_path: Path):
    model = tiny_model(name)
    compress(model, embeddings=False)
    directory = save(model, tmp_path / "m")
    check(directory, values=True)
    assert torch.equal(logits(type(model).from_pretrained(directory)), logits(model))


def test_numbers_that_json_has_no_name_for(tmp_path: Path):
    """transformers writes the limits of Mamba 2 as objects, and reads them as infinite numbers."""
    model = tiny_model(CLASS)
    model.config.limits = [0.0, float("inf"), -float("inf"), float("nan")]
    compress(model)
    directory = save(model, tmp_path / "out")
    for road in ROADS:
        assert road(directory).config.limits[1] == float("inf")
    edit(directory, lambda config: config.update(limits=[0.0, 1.0, -float("inf"), float("nan")]))
    refused(directory, "limits is")
