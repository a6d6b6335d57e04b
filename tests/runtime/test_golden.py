"""Golden artefacts: the runtime's hidden states are those of the library, whatever the form."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import dsformer
from dsformer_runtime.errors import UnsupportedModelError
from dsformer_runtime.families.build import load_model
from dsformer_runtime.reference import ReferenceEncoder

GOLDEN = Path(__file__).parents[1] / "golden"
NAMES = sorted(path.name for path in GOLDEN.iterdir() if (path / "config.json").is_file())
# The library multiplies bfloat16 and float16 as they are; the runtime makes float32 of them.
CLOSE, CLOSE_IN_FEW_BITS = 1e-5, 0.02


@pytest.mark.parametrize("name", [name for name in NAMES if name != "conv1d"])
def test_hidden_states(name: str):
    kept = load_file(GOLDEN / f"{name}.safetensors")
    model = dsformer.load(GOLDEN / name).base_model
    with torch.no_grad():
        wanted = model(input_ids=kept["input_ids"], attention_mask=kept["attention_mask"])[0].float()
    real = kept["attention_mask"].bool()
    ids, lengths = kept["input_ids"][real].numpy().astype(np.int32), kept["attention_mask"].sum(1).numpy()
    found = ReferenceEncoder(load_model(GOLDEN / name).encoder).run(ids, None, lengths)
    error = np.linalg.norm(found - wanted[real].numpy()) / np.linalg.norm(wanted[real].numpy())
    assert error < (CLOSE_IN_FEW_BITS if "float16" in name else CLOSE)


def test_unsupported():
    with pytest.raises(UnsupportedModelError, match=r"gpt2.*PyTorch"):
        load_model(GOLDEN / "conv1d")
