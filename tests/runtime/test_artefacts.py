"""Artefacts of all kinds: the hidden states of the library, its checksums, and damage, which is refused in one line."""

import json
import shutil
import warnings
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

import dsformer
from dsformer_runtime import RuntimeInputError, load_model
from dsformer_runtime.reference import ReferenceEncoder
from fixtures.models import inputs
from fuzz.kinds import KINDS, build
from fuzz.mutations import mutate

OTHERS = ("encoder and decoder", "conv1d", "decoder")
CLOSE, CLOSE_IN_BFLOAT16 = 1e-5, 0.02


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of every kind, with checksums and without."""
    folder = tmp_path_factory.mktemp("artefacts")
    build(folder)
    return folder


def hidden_states(place: Path, dtype: str | None = None) -> np.ndarray:
    model: PreTrainedModel = dsformer.load(place)
    ids = inputs(model)["input_ids"]
    lengths = np.full(len(ids), ids.shape[1])
    return ReferenceEncoder(load_model(place, dtype).encoder).run(ids.numpy().reshape(-1), None, lengths)


def wanted_states(place: Path) -> np.ndarray:
    model: PreTrainedModel = dsformer.load(place)
    with torch.no_grad():
        return model.base_model(**inputs(model))[0].float().flatten(0, 1).numpy()


def relative_error(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


@pytest.mark.parametrize("name", [name for name in KINDS if name not in OTHERS])
def test_hidden_states(name: str, whole: Path):
    error = relative_error(hidden_states(whole / name), wanted_states(whole / name))
    assert error < (CLOSE_IN_BFLOAT16 if name == "bf16" else CLOSE)


@pytest.mark.parametrize(("dtype", "most"), [("float32", 0.1), ("bfloat16", 0.1), ("int8", 0.2)])
@pytest.mark.parametrize("name", ["fp32", "int8", "int3 with many scales"])
def test_other_types(name: str, dtype: str, most: float, whole: Path):
    assert relative_error(hidden_states(whole / name, dtype), wanted_states(whole / name)) < most


@pytest.mark.parametrize("name", OTHERS)
def test_other_models_are_refused(name: str, whole: Path):
    with pytest.raises(RuntimeInputError, match="not supported"):
        load_model(whole / name)


def test_heads_are_not_rounded(whole: Path):
    for dtype, kinds in ((None, {"float32"}), ("int8", {"float32"}), ("bfloat16", {"float32"})):
        loaded = load_model(whole / "fp32", dtype)
        assert loaded.head is not None
        assert {str(one.values.dtype) for step in loaded.head.steps for one in step.linear.matrices} == kinds
        layer = loaded.encoder.layers[0].down
        assert {one.values.dtype.name for one in layer.matrices} == {
            {None: "float32", "int8": "int8", "bfloat16": "uint16"}[dtype]
        }


def test_members_of_a_block_share_the_dictionary(whole: Path):
    layer = load_model(whole / "shared dictionary").encoder.layers[0]
    assert len({id(part.inner) for part in layer.query_key_value}) == 1


def test_checksums(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    place = Path(shutil.copytree(whole / "fp32", tmp_path / "changed"))
    path = place / "config.json"
    config = json.loads(path.read_text())
    # Names and fields at their defaults may differ; other fields may not.
    free = {**config, "id2label": {"0": "no", "1": "yes"}, "layer_norm_eps": 1e-12}
    path.write_text(json.dumps(free))
    load_model(place)
    path.write_text(json.dumps({**config, "activation": "relu"}))
    with pytest.raises(RuntimeInputError, match="activation is"):
        load_model(place)
    path.write_text(json.dumps({name: one for name, one in config.items() if name != "n_heads"}))
    with pytest.raises(RuntimeInputError, match="n_heads is"):
        load_model(place)
    path.write_text(json.dumps(config))
    file = place / "model.safetensors"
    tensors = load_file(file)
    tensors["classifier.bias"] += 1
    save_file(tensors, file, {"format": "pt"})
    with pytest.raises(RuntimeInputError, match="not what was written"):
        load_model(place)
    monkeypatch.setenv("DSFORMER_VERIFY", "0")
    load_model(place)


@pytest.mark.parametrize("seed", range(150))
def test_damage(seed: int, whole: Path, tmp_path: Path):
    """Damaged directories are refused, or load."""
    random = Random(seed)
    place = tmp_path / "damaged"
    shutil.copytree(random.choice(sorted(whole.iterdir())), place)
    mutate(random, place, whole)
    try:
        encoder = load_model(place).encoder
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ReferenceEncoder(encoder).run(np.array([1, 2, 3], np.int32), None, np.array([3]))
    except RuntimeInputError as error:
        assert "\n" not in str(error)  # noqa: PT017
