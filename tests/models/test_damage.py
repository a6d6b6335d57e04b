"""Damaged directories: one clear line from ``check``; an error, never random weights, from ``from_pretrained``.

They are as they were written before there were checksums, which meet all of this first (see test_checksum).
"""

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import dsformer
from dsformer.errors import ArtefactError
from dsformer.format.precision import INT8
from dsformer.models.artefact import check, save
from dsformer.models.values import check_values
from fixtures.artefacts import without_record
from fixtures.models import compress, tiny_model

CLASS = "DistilBertForSequenceClassification"
LAYER = "distilbert.transformer.layer.0."
Q, DOWN = LAYER + "attention.q_lin", LAYER + "ffn.lin2"
TABLE = "distilbert.embeddings.word_embeddings"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = tiny_model(CLASS)
    compress(model)
    return without_record(save(model, tmp_path_factory.mktemp("whole") / "m"))


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = tiny_model(CLASS)
    compress(model)
    return without_record(save(model, tmp_path_factory.mktemp("sharded") / "m", max_shard_size="15KB"))


@pytest.fixture
def directory(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "m"))


@pytest.fixture
def shards(sharded: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sharded, tmp_path / "shards"))


def load(directory: Path) -> torch.nn.Module:
    return getattr(transformers, CLASS).from_pretrained(directory)


def refused(directory: Path, message: str, loading: type[Exception] | tuple = Exception) -> None:
    """By the check, with this message, and by loading."""
    with pytest.raises(ArtefactError, match=message) as caught:
        check(directory)
    assert "\n" not in str(caught.value)
    with pytest.raises(loading):
        load(directory)


def rewrite(directory: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    file = directory / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, {"format": "pt"})


def rewrite_config(directory: Path, change: Callable[[dict], object], file: str = "config.json") -> None:
    config = json.loads((directory / file).read_text())
    change(config)
    (directory / file).write_text(json.dumps(config))


def test_a_whole_one_is_fine(directory: Path, shards: Path):
    assert check(directory).blocks == check(shards).blocks
    load(directory)
    load(shards)


@pytest.mark.parametrize(
    "key",
    [
        f"{Q}.weight",
        f"{Q}.dictionary",
        f"{DOWN}.support",
        f"{TABLE}.permutation",
        f"{TABLE}.weight",
        f"{TABLE}.support",
    ],
)
def test_a_missing_tensor(directory: Path, key: str):
    rewrite(directory, lambda tensors: tensors.pop(key))
    refused(directory, f"{key} is not in the weights", ArtefactError)


def test_a_missing_tensor_that_is_not_ours(directory: Path):
    key = f"{LAYER}sa_layer_norm.weight"
    rewrite(directory, lambda tensors: tensors.pop(key))
    with pytest.raises(ArtefactError, match=f"{key} is not in the weights"):
        check(directory)


@pytest.mark.parametrize("key", [f"{Q}.weight", f"{Q}.dictionary", f"{DOWN}.support", f"{TABLE}.permutation"])
def test_a_tensor_of_another_shape(directory: Path, key: str):
    rewrite(directory, lambda tensors: tensors.update({key: tensors[key][:-1].clone()}))
    refused(directory, f"{key}: stored shape", ArtefactError)


def test_ignoring_shapes_does_not_make_weights_random(directory: Path):
    rewrite(directory, lambda tensors: tensors.update({f"{Q}.weight": tensors[f"{Q}.weight"][:-1].clone()}))
    with pytest.raises(ArtefactError, match="stored shape"):
        getattr(transformers, CLASS).from_pretrained(directory, ignore_mismatched_sizes=True)


@pytest.mark.parametrize(
    ("key", "dtype"),
    [(f"{DOWN}.support", torch.int16), (f"{TABLE}.permutation", torch.float32), (f"{Q}.weight", torch.int32)],
)
def test_a_tensor_of_another_type(directory: Path, key: str, dtype: torch.dtype):
    rewrite(directory, lambda tensors: tensors.update({key: tensors[key].to(dtype)}))
    refused(directory, f"{key}: stored as", ArtefactError)


def test_a_support_with_a_wrong_count(directory: Path):
    key = f"{DOWN}.support"
    rewrite(directory, lambda tensors: tensors[key][:1].bitwise_xor_(1))
    check(directory)  # only the numbers tell
    with pytest.raises(ArtefactError, match=f"^{DOWN}: support: a group does not have"):
        load(directory)


def test_a_support_with_an_index_out_of_range(directory: Path):
    rewrite(directory, lambda tensors: tensors[f"{Q}.support"].fill_(255))
    with pytest.raises(ArtefactError, match=f"^{Q}: support"):
        load(directory)


def test_a_permutation_that_is_none(directory: Path):
    rewrite(directory, lambda tensors: tensors[f"{TABLE}.permutation"].fill_(0))
    with pytest.raises(ArtefactError, match=f"^{TABLE}: permutation"):
        load(directory)


@pytest.mark.parametrize("kept", [0, 4, 100, 0.5, 0.999])
def test_a_file_cut_short(directory: Path, kept: float):
    file = directory / "model.safetensors"
    data = file.read_bytes()
    file.write_bytes(data[: kept if isinstance(kept, int) else int(kept * len(data))])
    refused(directory, "damaged or cut short")


def test_a_file_of_noise(directory: Path):
    (directory / "model.safetensors").write_bytes(bytes(range(256)) * 100)
    refused(directory, "damaged or cut short")


def test_a_header_that_lies_about_its_length(directory: Path):
    file = directory / "model.safetensors"
    file.write_bytes(struct.pack("<Q", 2**62) + file.read_bytes()[8:])
    refused(directory, "damaged or cut short")


def test_a_shard_cut_short(shards: Path):
    file = sorted(shards.glob("*.safetensors"))[1]
    file.write_bytes(file.read_bytes()[:-10])
    refused(shards, f"{file.name}: damaged or cut short")


def test_a_missing_shard(shards: Path):
    file = sorted(shards.glob("*.safetensors"))[1]
    file.unlink()
    refused(shards, f"{file.name}: a part of the weights is missing")


def test_an_index_that_lies(shards: Path):
    index = "model.safetensors.index.json"
    rewrite_config(shards, lambda config: config["weight_map"].pop(f"{Q}.weight"), index)
    with pytest.raises(ArtefactError, match=f"does not agree with the files about {Q}.weight"):
        check(shards)


@pytest.mark.parametrize("name", ["../other.safetensors", "/etc/passwd", "weights.bin", "x" * 999])
def test_an_index_that_leads_elsewhere(shards: Path, name: str):
    index = "model.safetensors.index.json"
    rewrite_config(shards, lambda config: config["weight_map"].update({f"{Q}.weight": name}), index)
    refused(shards, "is not the name of a safetensors file")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": {}}', '{"weight_map": {"a": 1}}', "{" * 100_000])
def test_an_index_that_is_none(shards: Path, text: str):
    (shards / "model.safetensors.index.json").write_text(text)
    refused(shards, "weight_map|not JSON")


def test_pickled_weights(directory: Path):
    (directory / "model.safetensors").unlink()
    torch.save({}, directory / "pytorch_model.bin")
    refused(directory, "pytorch_model.bin is a pickled checkpoint; only safetensors are read", ArtefactError)


def test_no_weights(directory: Path):
    (directory / "model.safetensors").unlink()
    refused(directory, "no model.safetensors")


def test_no_directory(tmp_path: Path):
    with pytest.raises(ArtefactError, match="no such directory"):
        check(tmp_path / "gone")


OTHER = '{"quantization_config": {"quant_method": "bnb"}}'


@pytest.mark.parametrize("text", ["", "[]", "{}", "\x00", OTHER, "[" * 100_000])
def test_a_config_that_is_none(directory: Path, text: str):
    (directory / "config.json").write_text(text)
    with pytest.raises(ArtefactError, match=r"not JSON|not of a model"):
        check(directory)


def test_a_newer_format(directory: Path):
    rewrite_config(directory, lambda c: c["quantization_config"].update(format_version=3, shiny="new"))
    message = r"written by a newer DSFormer \(format 3\); upgrade: pip install -U dsformer"
    refused(directory, message, ArtefactError)
    with pytest.raises(ArtefactError, match=message):
        load(directory)


HUGE = 2**31 - 1
TAMPERED = {
    "sizes that do not match": ({"in_features": 31}, "the model's layer is"),
    "huge sizes": ({"in_features": HUGE}, "atoms|model's layer"),
    "huge members": ({"members": [{"name": LAYER + "ffn.lin1", "out_features": HUGE // 8 * 8}]}, "in two of them"),
    "many atoms": ({"atoms": HUGE}, "atoms"),
    "more atoms": ({"atoms": 13}, "stored shape"),
    "fewer non-zeros": ({"nonzeros": 2}, "more entries than 2 for every unit"),
    "fewer entries": ({"entries": [100]}, "stored shape"),
    "wrong types": ({"atoms": "12"}, "atoms"),
    "not numbers": ({"atoms": float("nan")}, "atoms"),
    "unknown fields": ({"run": "rm"}, "run"),
    "unknown modules": ({"members": [{"name": "a.b", "out_features": 96}]}, "no such module|stored|not in the weights"),
    "a parent": ({"members": [{"name": LAYER[:-1], "out_features": 32}]}, "the model has a TransformerBlock"),
    "another kind": ({"kind": "embedding", "pattern": "free"}, "not a number for every linear layer"),
}


@pytest.mark.parametrize(("change", "message"), TAMPERED.values(), ids=TAMPERED)
def test_tampered_blocks(directory: Path, change: dict, message: str):
    rewrite_config(directory, lambda config: config["quantization_config"]["blocks"][1].update(change))
    refused(directory, message, ArtefactError)


@pytest.mark.parametrize("names", ["DistilBertModel", 0.1, [1], {"a": 1}])
def test_classes_that_are_no_names(directory: Path, names: object):
    rewrite_config(directory, lambda config: config.update(architectures=names))
    for road in (check, dsformer.load):
        with pytest.raises(ArtefactError, match="architectures is not a list of names"):
            road(directory)


@pytest.mark.parametrize("change", [{"attention_dropout": 2}, {"dim": [32]}, {"dim": {}}, {"n_heads": 0}], ids=str)
def test_a_class_nobody_can_make(directory: Path, change: dict):
    """Not one of transformers' own, so nothing is known of it before it is loaded."""
    rewrite_config(directory, lambda config: config.update(architectures=["SomebodysModel"], **change))
    with pytest.raises(ArtefactError) as caught:
        dsformer.load(directory)
    assert "\n" not in str(caught.value)


def test_a_head_that_cannot_be_tied(tmp_path: Path):
    """To a quantized table that is not tied to it."""
    model = tiny_model("LlamaForCausalLM")
    compress(model, precision=INT8)
    directory = without_record(save(model, tmp_path / "m"))
    rewrite_config(directory, lambda config: config.update(tie_word_embeddings=True))
    with pytest.raises(ArtefactError, match="describes no model"):
        dsformer.load(directory)


FIELDS = [
    {"blocks": None},
    {"blocks": 5},
    {"blocks": [{}] * 3},
    {"format_version": "1"},
    {"format_version": True},
    {"format_version": 0},
    {"package_version": 3},
    {"summary": "x"},
    {"more": 1},
]


@pytest.mark.parametrize("change", FIELDS, ids=str)
def test_tampered_configuration(directory: Path, change: dict):
    rewrite_config(directory, lambda config: config["quantization_config"].update(change))
    with pytest.raises(ArtefactError):
        check(directory)
    with pytest.raises(ArtefactError):
        load(directory)


ARCHITECTURE = [{"dim": 33}, {"n_layers": 10**9}, {"dim": "x"}, {"n_layers": 3}, {"vocab_size": 10**9}, {"n_heads": 0}]


@pytest.mark.parametrize("change", ARCHITECTURE, ids=str)
def test_a_tampered_architecture(directory: Path, change: dict):
    rewrite_config(directory, lambda config: config.update(change))
    with pytest.raises(ArtefactError):
        check(directory)


def test_a_model_of_unknown_class_is_checked_by_its_blocks(directory: Path):
    rewrite_config(directory, lambda config: config.update(architectures=["SomebodysModel"]))
    check(directory)
    rewrite(directory, lambda tensors: tensors.pop(f"{DOWN}.weight"))
    with pytest.raises(ArtefactError, match=f"{DOWN}.weight is not in the weights"):
        check(directory)


def loads() -> tuple:
    """Every road to a model."""
    return dsformer.load, getattr(transformers, CLASS).from_pretrained, transformers.DistilBertModel.from_pretrained


def refused_everywhere(directory: Path, message: str) -> None:
    for road in loads():
        with pytest.raises(ArtefactError, match=message) as caught:
            road(directory)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("key", [f"{Q}.dictionary", f"{DOWN}.weight", f"{Q}.bias", f"{LAYER}sa_layer_norm.weight"])
def test_values_that_are_no_numbers(directory: Path, key: str, value: float):
    rewrite(directory, lambda tensors: tensors[key].view(-1)[3:4].fill_(value))
    refused_everywhere(directory, f"{key} has NaN or Inf values")


@pytest.mark.parametrize("bits", [0x7FC0, 0x7F80, -0x80])
@pytest.mark.parametrize("scale", [f"{Q}.dictionary_scale", f"{DOWN}.weight_scale"])
def test_scales_that_are_no_numbers(tmp_path: Path, scale: str, bits: int):
    model = tiny_model(CLASS)
    compress(model, precision=INT8)
    directory = without_record(save(model, tmp_path / "m"))
    rewrite(directory, lambda tensors: tensors[scale][2:3].fill_(bits))
    refused_everywhere(directory, f"{scale} has NaN or Inf values")


def test_what_cannot_be_loaded_is_not_saved(tmp_path: Path):
    model = tiny_model(CLASS)
    compress(model)
    model.get_submodule(Q).dictionary.data[1, 2] = float("nan")
    with pytest.raises(ArtefactError, match=f"{Q}.dictionary has NaN or Inf values"):
        save(model, tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_masks_may_be_infinite(directory: Path):
    """They are buffers of the model's own."""
    file = directory / "model.safetensors"
    rewrite(directory, lambda tensors: tensors.update(mask=torch.tensor([0.0, -float("inf")])))
    check_values([file], None, {"mask"})
    with pytest.raises(ArtefactError, match="mask has NaN or Inf"):
        check_values([file], None)


def add_block(config: dict) -> None:
    blocks = config["quantization_config"]["blocks"]
    made_up = {**blocks[2], "members": [{"name": "made.up", "out_features": 32}]}
    blocks.append({**made_up, "entries": []})


def test_a_block_of_no_module(directory: Path):
    rewrite_config(directory, add_block)
    refused_everywhere(directory, "made.up: (the model has no such module|neither the model nor the weights have)")


def test_a_tied_module_that_is_none(directory: Path):
    rewrite_config(directory, lambda config: config["quantization_config"]["blocks"][0].update(tied=["made.up"]))
    with pytest.raises(ArtefactError, match=r"made.up: the model has no such module"):
        check(directory)
    with pytest.raises(ArtefactError, match=r"made.up: the model has no such module"):
        load(directory)


def test_a_tensor_nobody_expects(directory: Path):
    rewrite(directory, lambda tensors: tensors.update({"left.over": torch.ones(2)}))
    refused(directory, "left.over is in the weights, but the model has no such tensor", ArtefactError)


@pytest.mark.parametrize("key", ["permutation", "weight_scale", "dictionary_support"])
def test_a_tensor_the_form_does_not_have(directory: Path, key: str):
    rewrite(directory, lambda tensors: tensors.update({f"{DOWN}.{key}": torch.ones(2, dtype=torch.uint8)}))
    name = DOWN.removeprefix("distilbert.")
    refused_everywhere(directory, f"{name}.{key}: stored, but quantization_config says that there is none")


def test_a_flipped_permutation(directory: Path):
    def flip(config: dict) -> None:
        for block in config["quantization_config"]["blocks"]:
            block["permuted"] = not block.get("permuted", False)
            block.pop("entries", None)

    rewrite_config(directory, flip)
    for road in loads():
        with pytest.raises(ArtefactError):
            road(directory)


def test_fewer_layers_than_are_stored(directory: Path):
    def cut(config: dict) -> None:
        config["n_layers"] = 1
        blocks = config["quantization_config"]["blocks"]
        config["quantization_config"]["blocks"] = [
            block for block in blocks if "layer.1." not in block["members"][0]["name"]
        ]

    rewrite_config(directory, cut)
    refused_everywhere(directory, "is in the weights, but the model has only 1 distilbert.transformer.layer")


def test_a_head_may_be_new_or_left_out(directory: Path):
    transformers.DistilBertModel.from_pretrained(directory)
    model = transformers.DistilBertForSequenceClassification.from_pretrained(
        directory, num_labels=5, ignore_mismatched_sizes=True
    )
    assert model.classifier.out_features == 5
    assert transformers.DistilBertForTokenClassification.from_pretrained(directory).num_labels == 2


@pytest.mark.parametrize("key", [f"{LAYER}sa_layer_norm.weight", "pre_classifier.bias"])
def test_a_missing_dense_tensor_is_not_made_anew(directory: Path, key: str):
    rewrite(directory, lambda tensors: tensors.pop(key))
    refused(directory, f"{key} is not in the weights", ArtefactError)
