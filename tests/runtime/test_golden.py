"""Golden artefacts: the runtime's hidden states are those of the library, whatever the form."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import dsformer
from dsformer_runtime.backend import open_backend
from dsformer_runtime.errors import UnsupportedModelError
from dsformer_runtime.families.build import load_model

GOLDEN = Path(__file__).parents[1] / "golden"
NAMES = sorted(path.name for path in GOLDEN.iterdir() if (path / "config.json").is_file())
# The library multiplies bfloat16 and float16 as they are; the runtime makes float32 of them. With int8 factors the
# native attention rounds to bfloat16.
CLOSE, CLOSE_IN_FEW_BITS = 1e-5, 0.02


@pytest.mark.parametrize("backend", ["reference", "native"])
@pytest.mark.parametrize("name", [name for name in NAMES if name != "conv1d"])
def test_hidden_states(name: str, backend: str):
    kept = load_file(GOLDEN / f"{name}.safetensors")
    model = dsformer.load(GOLDEN / name).base_model
    with torch.no_grad():
        wanted = model(input_ids=kept["input_ids"], attention_mask=kept["attention_mask"])[0].float()
    real = kept["attention_mask"].bool()
    ids, lengths = kept["input_ids"][real].numpy().astype(np.int32), kept["attention_mask"].sum(1).numpy()
    found = open_backend(load_model(GOLDEN / name).encoder, backend).run(ids, None, lengths)
    error = np.linalg.norm(found - wanted[real].numpy()) / np.linalg.norm(wanted[real].numpy())
    few_bits = "float16" in name or (backend == "native" and "int" in name)
    assert error < (CLOSE_IN_FEW_BITS if few_bits else CLOSE)


def test_unsupported():
    with pytest.raises(UnsupportedModelError, match=r"gpt2.*PyTorch"):
        load_model(GOLDEN / "conv1d")
