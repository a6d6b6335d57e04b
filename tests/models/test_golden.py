"""Artefacts written by an earlier version: they load, say what they said, and are saved again byte for byte.

``tests/golden/write.py`` wrote them, before artefacts had checksums.
"""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import dsformer
from dsformer.format.schema import BlockConfig, Member

GOLDEN = Path(__file__).parents[1] / "golden"
NAMES = sorted(path.name for path in GOLDEN.iterdir() if (path / "config.json").is_file())
# Relative error of outputs. Where numbers of few bits are multiplied, processors round differently.
CLOSE, CLOSE_IN_FEW_BITS = 1e-4, 0.05


def exact(name: str) -> bool:
    return not any(part in name for part in ("int", "float16", "bfloat16"))


@pytest.mark.parametrize("name", NAMES)
def test_outputs(name: str):
    kept = load_file(GOLDEN / f"{name}.safetensors")
    wanted = kept.pop("output")
    with torch.no_grad():
        output = dsformer.load(GOLDEN / name)(**kept)[0].float()
    real = kept["attention_mask"].bool()
    error = (output - wanted)[real].norm() / wanted[real].norm()
    assert error < (CLOSE if exact(name) else CLOSE_IN_FEW_BITS)


@pytest.mark.parametrize("name", NAMES)
def test_saved_again(name: str, tmp_path: Path):
    dsformer.load(GOLDEN / name).save_pretrained(tmp_path)
    before, after = (place / "model.safetensors" for place in (GOLDEN / name, tmp_path))
    assert after.read_bytes() == before.read_bytes()
    old, new = (
        json.loads((place / "config.json").read_text())["quantization_config"] for place in (GOLDEN / name, tmp_path)
    )
    assert {field: new[field] for field in ("quant_method", "format_version", "blocks")} == {
        field: old[field] for field in ("quant_method", "format_version", "blocks")
    }


def test_every_encoding_is_there():
    """One artefact at least for every field that an entry of a block can have."""
    seen: set[str] = set()
    for name in NAMES:
        for block in json.loads((GOLDEN / name / "config.json").read_text())["quantization_config"]["blocks"]:
            seen.update(block)
            seen.update(*block["members"])
    assert seen >= {*BlockConfig.model_fields, *Member.model_fields}
