"""Models in another type are as transformers would have loaded them in that type."""

from pathlib import Path

import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM, LlamaConfig, LlamaForCausalLM

from dsformer.models.artefact import save
from dsformer.models.casting import cast_model
from fixtures.models import compress, inputs, tiny_model

SMALL = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2}
SMALL |= {"intermediate_size": 96, "vocab_size": 101, "head_dim": 32, "pad_token_id": 0}


def types(model):
    return {name: tensor.dtype for name, tensor in (*model.named_parameters(), *model.named_buffers())}


@pytest.mark.parametrize("kind", [(LlamaConfig, LlamaForCausalLM), (Gemma2Config, Gemma2ForCausalLM)], ids=str)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_as_loaded_in_that_type(kind, dtype, tmp_path: Path):
    torch.manual_seed(0)
    model = kind[1](kind[0](**SMALL)).eval()
    model.save_pretrained(tmp_path)
    loaded = kind[1].from_pretrained(tmp_path, dtype=dtype).eval()
    frequencies = model.model.rotary_emb.inv_freq.clone()
    cast_model(model, dtype)
    assert types(model) == types(loaded)
    assert torch.equal(model.model.rotary_emb.inv_freq, frequencies)
    ids = torch.arange(3, 99)[None]
    with torch.no_grad():
        assert torch.equal(model(ids).logits, loaded(ids).logits)
        cast_model(model, torch.float32)
        cast_model(model, dtype)
        assert torch.equal(model(ids).logits, loaded(ids).logits)


def test_compressed_layers_too(tmp_path: Path):
    model = tiny_model("LlamaForCausalLM")
    compress(model)
    save(model, tmp_path / "m")
    loaded = type(model).from_pretrained(tmp_path / "m", dtype=torch.bfloat16).eval()
    cast_model(model.eval(), torch.bfloat16)
    assert types(model) == types(loaded)
    with torch.no_grad():
        assert torch.equal(model(**inputs(model))[0], loaded(**inputs(model))[0])


def test_models_that_no_configuration_makes():
    class Own(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(2, 2)
            self.register_buffer("kept", torch.ones(2))
            self.register_buffer("computed", torch.ones(2), persistent=False)
            self.register_buffer("whole", torch.ones(2, dtype=torch.long))

    model = Own()
    cast_model(model, torch.bfloat16)
    found = types(model)
    assert found.pop("computed") == torch.float32
    assert found.pop("whole") == torch.long
    assert set(found.values()) == {torch.bfloat16}
