"""Hidden states of every family are those of transformers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dsformer_runtime.backend import open_backend
from dsformer_runtime.errors import RuntimeInputError
from dsformer_runtime.families.build import load_model
from fixtures.families import FAMILIES, write_family

LENGTHS = (12, 40, 1, 5)


def inputs(rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Texts of different lengths, padded, and their mask."""
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    ids = torch.randint(5, rows, mask.shape, generator=torch.Generator().manual_seed(1))
    return ids, mask


def compare(place: Path, model: torch.nn.Module, types: bool = False, backend: str = "reference") -> float:
    """Largest error of hidden states, relative to the largest number."""
    ids, mask = inputs(model.config.vocab_size)
    kinds = (torch.arange(mask.shape[1]) > 2).long().expand(mask.shape)
    more = {"token_type_ids": kinds} if types else {}
    with torch.no_grad():
        given = ids.masked_fill(~mask, model.config.pad_token_id)
        wanted = model(input_ids=given, attention_mask=mask.long(), **more)[0][mask].numpy()
    flat = kinds[mask].numpy().astype(np.int32) if types else None
    encoder = open_backend(load_model(place).encoder, backend)
    found = encoder.run(ids[mask].numpy().astype(np.int32), flat, np.array(LENGTHS))
    assert found.dtype == np.float32
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


@pytest.mark.parametrize("backend", ["reference", "native"])
@pytest.mark.parametrize("family", FAMILIES)
def test_hidden_states(family: str, backend: str, tmp_path: Path):
    model = write_family(tmp_path, family)
    types = load_model(tmp_path).encoder.types
    error = compare(tmp_path, model, types=types is not None and len(types) > 1, backend=backend)
    assert error < (2e-6 if backend == "reference" else 1e-5)


def test_half_precision_is_read_as_it_is(tmp_path: Path):
    model = write_family(tmp_path, "bert").to(torch.bfloat16)
    model.save_pretrained(tmp_path)
    assert load_model(tmp_path).encoder.words.values.dtype == np.uint16  # type: ignore[union-attr]
    assert compare(tmp_path, model.float()) < 2e-6


def test_shards(tmp_path: Path):
    model = write_family(tmp_path, "bert")
    (tmp_path / "model.safetensors").unlink()
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    assert compare(tmp_path, model) < 2e-6


def test_older_names(tmp_path: Path):
    model = write_family(tmp_path, "bert")
    tensors = load_file(tmp_path / "model.safetensors")
    older = {
        f"bert.{name.replace('LayerNorm.weight', 'LayerNorm.gamma').replace('LayerNorm.bias', 'LayerNorm.beta')}": one
        for name, one in tensors.items()
    }
    save_file(older, tmp_path / "model.safetensors", {"format": "pt"})
    assert compare(tmp_path, model) < 2e-6


def test_nomic_under_the_names_of_its_modules(tmp_path: Path):
    """transformers writes the published names; artefacts have those of modules."""
    model = write_family(tmp_path, "nomic")
    assert any("Wqkv" in name for name in load_file(tmp_path / "model.safetensors"))
    save_file(model.state_dict(), tmp_path / "model.safetensors", {"format": "pt"})
    assert compare(tmp_path, model) < 2e-6


def test_nomic_as_first_published(tmp_path: Path):
    model = write_family(tmp_path, "nomic")
    published = {
        **{"model_type": "nomic_bert", "n_embd": 32, "n_head": 4, "n_layer": 2, "n_inner": 48, "n_positions": 66},
        **{"activation_function": "swiglu", "layer_norm_epsilon": 1e-12, "rotary_emb_base": 1000, "prenorm": False},
    }
    (tmp_path / "config.json").write_text(json.dumps(published))
    assert compare(tmp_path, model) < 2e-6


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"model_type": "gpt2"}, "supported: bert"),
        ({"position_embedding_type": "relative_key"}, "PyTorch"),
        ({"hidden_act": "mish"}, "mish"),
        ({"num_hidden_layers": 3}, "not in the weights"),
        ({"num_attention_heads": 5}, "do not divide"),
    ],
)
def test_what_is_refused(fields: dict[str, Any], what: str, tmp_path: Path):
    write_family(tmp_path, "bert")
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **fields}))
    with pytest.raises(RuntimeInputError, match=what):
        load_model(tmp_path)
