from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertForMaskedLM, PreTrainedModel
from transformers.pytorch_utils import Conv1D

import dsformer
from dsformer.errors import InputError
from dsformer.format.schema import BlockConfig
from dsformer.format.spec import FormSpec
from dsformer.models.artefact import save
from dsformer.models.hf_quantizer import attach
from dsformer.nn.compressed import StoredForm
from dsformer.nn.embedding import DenseSparseEmbedding
from dsformer.nn.linear import DenseSparseLinear
from dsformer.nn.replace import install_forms
from dsformer.training.conversion import NAME, install_learned_blocks, install_learned_forms
from fixtures.forms import random_form
from fixtures.models import compress, inputs, tiny_model

NAMES = (
    *("BertForMaskedLM", "DistilBertForSequenceClassification", "AlbertForMaskedLM", "DebertaV2ForMaskedLM"),
    *("GPT2LMHeadModel", "T5ForConditionalGeneration", "LlamaForCausalLM", "ModernBertForMaskedLM"),
)


def compressed(name: str) -> PreTrainedModel:
    model = tiny_model(name)
    compress(model)
    return model.eval()


def outputs(model: nn.Module, given: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.no_grad():
        return model(**given)[0].clone()


def step(model: PreTrainedModel, rate: float = 0.05) -> None:
    """One of plain gradient descent on a model's own outputs."""
    model(**inputs(model))[0].square().mean().backward()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter -= rate * parameter.grad
                parameter.grad = None


@pytest.mark.parametrize("name", NAMES)
def test_outputs_stay_and_what_is_learned_is_stored(name: str, tmp_path: Path):
    model = compressed(name)
    configs = model.config.quantization_config.blocks
    before = outputs(model, inputs(model))
    keys = {key: (tensor.shape, tensor.dtype) for key, tensor in model.state_dict().items()}
    learned = install_learned_blocks(model, configs)
    assert not any(isinstance(module, DenseSparseLinear) for module in model.modules())
    torch.testing.assert_close(outputs(model, inputs(model)), before, rtol=1e-5, atol=1e-5)
    step(model)
    moved = outputs(model, inputs(model))
    assert not torch.allclose(moved, before, rtol=1e-4, atol=1e-4)
    install_learned_forms(model, learned)
    assert not hasattr(model, NAME)
    torch.testing.assert_close(outputs(model, inputs(model)), moved, rtol=1e-5, atol=1e-5)
    assert {key: (tensor.shape, tensor.dtype) for key, tensor in model.state_dict().items()} == keys
    attach(model, configs)
    final = outputs(model.eval(), inputs(model))
    loaded = dsformer.load(save(model, tmp_path / "out"))
    assert torch.equal(outputs(loaded, inputs(model)), final)
    for key, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], tensor), key


def test_every_linear_keeps_its_class_and_bias():
    model = compressed("GPT2LMHeadModel")
    bias = model.get_submodule("transformer.h.0.attn.c_attn").bias
    install_learned_blocks(model, model.config.quantization_config.blocks)
    layer = model.get_submodule("transformer.h.0.attn.c_attn")
    assert type(layer) is Conv1D
    assert layer.bias is bias


def test_compressed_tables_stay_compressed():
    model = compressed("BertForMaskedLM")
    stored = {name for name, module in model.named_modules() if isinstance(module, StoredForm)}
    table = model.get_input_embeddings()
    learned = install_learned_blocks(model, model.config.quantization_config.blocks)
    assert isinstance(table, DenseSparseEmbedding)
    assert model.get_input_embeddings() is table
    install_learned_forms(model, learned)
    assert {name for name, module in model.named_modules() if isinstance(module, StoredForm)} == stored


def test_a_module_under_two_names():
    model = tiny_model("BertForMaskedLM")
    config = BlockConfig.of("linear", [("bert.encoder.layer.0.attention.output.dense", 32)], FREE)
    layers = model.bert.encoder.layer
    layers[1].attention.output.dense = layers[0].attention.output.dense
    install_forms(model, [config], [random_form(FREE)])
    before = outputs(model, inputs(model))
    learned = install_learned_blocks(model, [config])
    assert layers[1].attention.output.dense is layers[0].attention.output.dense
    step(model)
    moved = outputs(model, inputs(model))
    assert not torch.allclose(moved, before)
    install_learned_forms(model, learned)
    assert layers[1].attention.output.dense is layers[0].attention.output.dense
    torch.testing.assert_close(outputs(model, inputs(model)), moved, rtol=1e-5, atol=1e-5)


FREE = FormSpec("input", 32, 32, atoms=12, nonzeros=4)


def test_a_tied_bias_stays_tied():
    size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    model = BertForMaskedLM(BertConfig(vocab_size=40, tie_word_embeddings=False, **size)).eval()
    head = model.cls.predictions
    head.decoder.bias = head.bias
    spec = FormSpec("input", 40, 32, atoms=12, nonzeros=4)
    config = BlockConfig.of("linear", [("cls.predictions.decoder", 40)], spec)
    install_forms(model, [config], [random_form(spec)])
    learned = install_learned_blocks(model, [config])
    assert head.decoder.bias is head.bias
    install_learned_forms(model, learned)
    assert head.decoder.bias is head.bias


def test_nothing_to_train():
    model = tiny_model("BertForMaskedLM")
    with pytest.raises(InputError, match="no compressed linear layers"):
        install_learned_blocks(model, [])
