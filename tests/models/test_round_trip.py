import filecmp
import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
import transformers
from torch import nn
from transformers import AutoModel, AutoModelForSequenceClassification, PreTrainedModel

from dsformer.format.precision import INT8, Precision
from dsformer.models.artefact import save
from dsformer.models.config import DSFormerConfig
from dsformer.nn.compressed import StoredForm
from dsformer.nn.embedding import DenseSparseEmbedding
from dsformer.nn.replace import densify
from fixtures.hub import local_hub
from fixtures.models import ARCHITECTURES, compress, inputs, tiny_model

_DEVICE_MAPS = ["cpu", "auto", {"": "cpu"}]


def logits(model: PreTrainedModel, **changes) -> torch.Tensor:
    with torch.no_grad():
        return model(**inputs(model) | changes)[0]


def compressed(name: str, **options) -> PreTrainedModel:
    model = tiny_model(name)
    compress(model, **options)
    return model


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture(name: str, tmp_path: Path):
    model = compressed(name)
    expected = logits(model)

    first, again = save(model, tmp_path / "first"), tmp_path / "again"
    loaded, information = type(model).from_pretrained(first, output_loading_info=True)
    assert not any(information.values()), information
    assert torch.equal(logits(loaded), expected)
    save(loaded, again)
    assert sorted(os.listdir(first)) == sorted(os.listdir(again))
    for file in os.listdir(first):
        assert filecmp.cmp(first / file, again / file, shallow=False), file

    model.train()
    model(**inputs(model))[0].sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())

    densify(loaded)
    assert not any(isinstance(module, StoredForm) for module in loaded.modules())
    torch.testing.assert_close(logits(loaded), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("precision", [INT8, Precision(4, 4), Precision(3, 8, span=8)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_rounded_factors(name: str, dtype: torch.dtype, precision: Precision, tmp_path: Path):
    model = compressed(name, precision=precision)
    expected = logits(model)
    first = save(model, tmp_path / "first")
    loaded, information = type(model).from_pretrained(first, dtype=dtype, output_loading_info=True)
    assert not any(information.values()), information
    stored = [module for module in loaded.modules() if isinstance(module, StoredForm)]
    assert stored
    assert {module.weight.dtype for module in stored} == {torch.int8}
    if dtype == torch.float32:
        assert torch.equal(logits(loaded), expected)
    else:
        torch.testing.assert_close(logits(loaded).float(), expected, rtol=0.2, atol=0.2 * expected.abs().max().item())
    again = save(loaded, tmp_path / "again")
    assert torch.equal(logits(type(model).from_pretrained(again, dtype="auto")), logits(loaded))
    if dtype == torch.float32:
        assert filecmp.cmp(first / "model.safetensors", again / "model.safetensors", shallow=False)
    densify(loaded)
    assert loaded.dtype == dtype
    torch.testing.assert_close(logits(loaded).float(), expected, rtol=0.2, atol=0.2 * expected.abs().max().item())


@pytest.mark.parametrize("name", ["BertForMaskedLM", "T5ForConditionalGeneration", "Qwen2ForCausalLM"])
def test_tied_weights_are_stored_once(name: str, tmp_path: Path):
    model = compressed(name)
    stored = sum(file.stat().st_size for file in save(model, tmp_path / "m").glob("*.safetensors"))
    tensors = {id(tensor): tensor for tensor in model.state_dict(keep_vars=True).values()}
    assert stored < 1.2 * sum(t.numel() * t.element_size() for t in tensors.values()) + 20_000
    loaded = type(model).from_pretrained(tmp_path / "m")
    owner = next(module for module in loaded.modules() if isinstance(module, DenseSparseEmbedding))
    assert loaded.get_output_embeddings().weight is owner.weight
    loaded.tie_weights()
    assert torch.equal(logits(loaded), logits(model))


@pytest.mark.parametrize("name", ["DistilBertForSequenceClassification", "T5ForConditionalGeneration"])
def test_shards(name: str, tmp_path: Path):
    model = compressed(name)
    directory = save(model, tmp_path / "m", max_shard_size="15KB")
    assert len(list(directory.glob("*.safetensors"))) >= 3
    assert torch.equal(logits(type(model).from_pretrained(directory)), logits(model))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "name", ["DistilBertForSequenceClassification", "T5ForConditionalGeneration", "GPT2LMHeadModel"]
)
def test_another_type(name: str, dtype: torch.dtype, tmp_path: Path):
    model = compressed(name)
    directory = save(model, tmp_path / "m")
    loaded = type(model).from_pretrained(directory, dtype=dtype)
    assert loaded.dtype == dtype
    assert all(
        m.support is None or m.support.dtype == torch.uint8 for m in loaded.modules() if isinstance(m, StoredForm)
    )
    expected = logits(model)
    torch.testing.assert_close(logits(loaded).float(), expected, rtol=0.1, atol=0.1 * expected.abs().max().item())

    again = save(loaded, tmp_path / "again")
    assert torch.equal(logits(type(model).from_pretrained(again, dtype="auto")), logits(loaded))


def test_compressed_in_another_type(tmp_path: Path):
    model = compressed("RobertaForSequenceClassification", dtype=torch.bfloat16).to(torch.bfloat16)
    directory = save(model, tmp_path / "m")
    assert torch.equal(logits(type(model).from_pretrained(directory, dtype="auto")), logits(model))


@pytest.mark.parametrize("device_map", _DEVICE_MAPS, ids=str)
def test_device_maps(device_map, tmp_path: Path):
    model = compressed("BertForMaskedLM")
    directory = save(model, tmp_path / "m")
    loaded = type(model).from_pretrained(directory, device_map=device_map)
    assert torch.equal(logits(loaded), logits(model))


def test_the_base_of_a_model_with_a_head_and_back(tmp_path: Path):
    model = compressed("DistilBertForSequenceClassification")
    base = AutoModel.from_pretrained(save(model, tmp_path / "head"))
    assert torch.equal(logits(base), logits(model.distilbert))
    names = base.config.quantization_config.blocks[1].names
    assert names[0] == "transformer.layer.0.attention.q_lin"

    again = AutoModelForSequenceClassification.from_pretrained(save(base, tmp_path / "base"))
    assert torch.equal(logits(again.distilbert), logits(base))


def test_a_head_that_is_compressed_is_left_out_with_its_model(tmp_path: Path):
    model = compressed("BertForMaskedLM")
    base = AutoModel.from_pretrained(save(model, tmp_path / "m"))
    assert type(base).__name__ == "BertModel"
    assert not any(
        "cls" in name for block in base.config.quantization_config.blocks for name in (*block.names, *block.tied)
    )
    with torch.no_grad():
        expected = model.bert(**inputs(model))[0]
    assert torch.equal(logits(base), expected)


def test_no_dense_weight_is_ever_initialised(tmp_path: Path):
    """Everything goes straight to where it stays: loading must not need the memory of the dense model."""
    model = compressed("BertForMaskedLM")
    directory = save(model, tmp_path / "m")
    shapes: list[tuple[int, ...]] = []
    real = torch.Tensor.normal_

    def normal_(self: torch.Tensor, *args, **kwargs) -> torch.Tensor:
        if self.device.type != "meta":
            shapes.append(tuple(self.shape))
        return real(self, *args, **kwargs)

    with patch.object(torch.Tensor, "normal_", normal_):
        type(model).from_pretrained(directory)
    assert not shapes


def test_generation(tmp_path: Path):
    model = compressed("Qwen2ForCausalLM")
    loaded = type(model).from_pretrained(save(model, tmp_path / "m"))
    options = {"max_new_tokens": 5, "do_sample": False}
    assert torch.equal(loaded.generate(**inputs(model), **options), model.generate(**inputs(model), **options))


PUSH = """
import sys
import dsformer
dsformer.load(sys.argv[1]).push_to_hub("someone/model", token="a token")
"""


def test_push_to_hub(tmp_path: Path):
    """What transformers itself offers works on the same files."""
    directory = save(compressed("DistilBertForSequenceClassification"), tmp_path / "m")
    with local_hub() as hub:
        # A process of its own: which hub there is, and whether it is asked, is fixed when huggingface_hub is imported.
        place = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "home")}
        subprocess.run([sys.executable, "-c", PUSH, str(directory)], env=os.environ | place, check=True)
    uploaded = hub.repositories["someone/model"]
    for name in ("model.safetensors", "config.json"):
        assert uploaded[name] == (directory / name).read_bytes()


def test_dequantize(tmp_path: Path):
    model = compressed("DistilBertForSequenceClassification")
    loaded = type(model).from_pretrained(save(model, tmp_path / "m"))
    dense = loaded.dequantize()
    assert type(dense.distilbert.transformer.layer[0].attention.q_lin) is nn.Linear
    dense.save_pretrained(tmp_path / "dense")
    plain = type(model).from_pretrained(tmp_path / "dense")
    torch.testing.assert_close(logits(plain), logits(model), rtol=1e-4, atol=1e-4)
    assert not hasattr(plain.config, "quantization_config")


def test_the_configuration_travels(tmp_path: Path):
    model = compressed("DistilBertForSequenceClassification")
    loaded = type(model).from_pretrained(save(model, tmp_path / "m"))
    for one in (model, loaded):
        config = one.config.quantization_config
        assert isinstance(config, DSFormerConfig)
        assert config.summary == {"base_model": "tiny"}
        assert one.hf_quantizer.is_trainable
        assert one.hf_quantizer.is_qat_trainable
        assert one.hf_quantizer.is_serializable()
    assert loaded.config.quantization_config.to_dict() == model.config.quantization_config.to_dict()
    assert "quantization_config" in transformers.AutoConfig.from_pretrained(tmp_path / "m").to_dict()


@pytest.mark.parametrize(
    "name", ["BertForMaskedLM", "T5ForConditionalGeneration", "Qwen2ForCausalLM", "GPT2LMHeadModel"]
)
def test_tied_weights_are_tied_again_without_compression(name: str, tmp_path: Path):
    model = compressed(name)
    dense = type(model).from_pretrained(save(model, tmp_path / "m")).dequantize()
    dense.save_pretrained(tmp_path / "dense")
    plain, information = type(model).from_pretrained(tmp_path / "dense", output_loading_info=True)
    assert not any(information.values()), information
    assert plain.get_output_embeddings().weight is plain.get_input_embeddings().weight
    torch.testing.assert_close(logits(plain), logits(model), rtol=1e-4, atol=1e-4)
    stored = (tmp_path / "dense" / "model.safetensors").stat().st_size
    assert stored < 1.2 * sum(parameter.numel() * 4 for parameter in plain.parameters()) + 20_000


def test_tied_by_hand_where_the_class_ties_nothing(tmp_path: Path):
    model = tiny_model("LlamaForCausalLM")
    model.lm_head.weight = model.model.embed_tokens.weight
    compress(model)
    assert not model.config.tie_word_embeddings
    dense = type(model).from_pretrained(save(model, tmp_path / "m")).dequantize()
    dense.save_pretrained(tmp_path / "dense")
    plain = type(model).from_pretrained(tmp_path / "dense")
    torch.testing.assert_close(logits(plain), logits(model), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("precision", [None, INT8], ids=str)
def test_classes_that_look_into_layers_when_they_are_loaded(precision: Precision | None, tmp_path: Path):
    """Funnel reads two sizes of the weight of whatever is called Linear, and zeroes the padding row of its table."""
    sizes = {"d_model": 32, "d_inner": 64, "n_head": 4, "d_head": 8, "vocab_size": 101, "block_sizes": [1, 1]}
    torch.manual_seed(0)
    config = transformers.FunnelConfig(**sizes, num_decoder_layers=1, pad_token_id=7)
    model = transformers.FunnelForMaskedLM(config).eval()
    compress(model, precision=precision)
    loaded = type(model).from_pretrained(save(model, tmp_path / "m"))
    assert torch.equal(logits(loaded), logits(model))
    table = loaded.get_input_embeddings()
    assert torch.equal(table.weight, model.get_input_embeddings().weight)
