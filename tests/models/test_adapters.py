"""LoRA before and after compression, with peft itself."""

from pathlib import Path

import peft
import pytest
import torch
from peft import LoraConfig
from transformers import AutoModelForSequenceClassification, PreTrainedModel

import dsformer
from dsformer.errors import InputError, MissingExtraError
from dsformer.models import adapters
from dsformer.nn.linear import DenseSparseLinear
from fixtures.models import compress, inputs, tiny_model
from fixtures.training import QUICK, reviews, write_base

TEXTS = [text for text, _ in reviews(40)]
NAMES = ["BertForMaskedLM", "GPT2LMHeadModel", "LlamaForCausalLM", "DistilBertForSequenceClassification"]
TARGETS = {
    "BertForMaskedLM": ["query", "value", "intermediate.dense"],
    "GPT2LMHeadModel": ["c_attn", "mlp.c_proj"],
    "LlamaForCausalLM": ["q_proj", "down_proj"],
    "DistilBertForSequenceClassification": ["q_lin", "lin2"],
}


def compressed(name: str) -> PreTrainedModel:
    model = tiny_model(name)
    compress(model)
    return model.eval()


def said(model: torch.nn.Module, given: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.no_grad():
        return model(**given)[0]


def lora(name: str) -> LoraConfig:
    return LoraConfig(r=4, target_modules=TARGETS[name], lora_dropout=0.0)


def trained(model: torch.nn.Module, given: dict[str, torch.Tensor]) -> None:
    optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=0.02)
    for _ in range(3):
        model(**given)[0].square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("name", NAMES)
def test_adapters_are_trained_beside_compressed_layers(name: str, tmp_path: Path):
    model = compressed(name)
    given, frozen = inputs(model), {key: tensor.clone() for key, tensor in model.state_dict().items()}
    before = said(model, given)
    adapted = dsformer.add_lora(model, lora(name))
    torch.testing.assert_close(said(adapted.eval(), given), before, rtol=1e-5, atol=1e-6)
    assert all("lora_" in key for key, one in adapted.named_parameters() if one.requires_grad)
    trained(adapted.train(), given)
    after = said(adapted.eval(), given)
    assert not torch.allclose(after, before, atol=1e-3)
    adapted.save_pretrained(tmp_path / "adapter")
    again = dsformer.load_lora(compressed(name), tmp_path / "adapter")
    torch.testing.assert_close(said(again.eval(), given), after, rtol=1e-5, atol=1e-6)
    with again.disable_adapter():
        torch.testing.assert_close(said(again, given), before, rtol=1e-5, atol=1e-6)
    base = adapted.unload()
    assert all(torch.equal(base.state_dict()[key], tensor) for key, tensor in frozen.items())


def test_adapters_that_are_trained_on(tmp_path: Path):
    name = "BertForMaskedLM"
    adapted = dsformer.add_lora(compressed(name), lora(name))
    adapted.save_pretrained(tmp_path / "adapter")
    again = dsformer.load_lora(compressed(name), tmp_path / "adapter", trainable=True)
    assert any(one.requires_grad for one in again.parameters())


def test_they_cannot_be_merged_into_compressed_weights():
    adapted = dsformer.add_lora(compressed("BertForMaskedLM"), lora("BertForMaskedLM"))
    with pytest.raises(InputError, match="adapters cannot be merged into compressed weights"):
        adapted.merge_and_unload()
    with pytest.raises(InputError, match="the model is compressed already"):
        dsformer.compress(adapted, tokenizer=object())


def adapted_base(base: Path, given: dict[str, torch.Tensor]) -> peft.PeftModel:
    """A dense model with adapters that have been trained, and a head of its own."""
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
    config = LoraConfig(r=4, target_modules=["query", "value"], task_type="SEQ_CLS", lora_dropout=0.0)
    adapted = peft.get_peft_model(model, config)
    trained(adapted.train(), given)
    return adapted.eval()


@pytest.mark.parametrize("written", [True, False], ids=["directory", "in memory"])
def test_adapters_are_merged_before(written: bool, tmp_path: Path):
    base = write_base(tmp_path / "base", 0.15)
    given = {"input_ids": torch.arange(14).view(2, 7) + 5, "attention_mask": torch.ones(2, 7, dtype=torch.long)}
    adapted = adapted_base(base, given)
    wanted = said(adapted, given)
    adapted.save_pretrained(tmp_path / "adapter")
    tokenizer = None if written else dsformer.models.source.open_source(base).tokenizer
    fields = {**QUICK, "ratio": 1.05, "allocation": "uniform", "effort": {"iterations": 20, "screening": 2}}
    start = tmp_path / "adapter" if written else adapted
    done = dsformer.compress(start, tmp_path / "out", tokenizer=tokenizer, texts=TEXTS, **fields)
    plain = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
    plain.classifier = done.model.classifier
    near, far = (float((said(one, given) - wanted).norm()) for one in (done.model, plain.eval()))
    assert near < 0.5 * far
    assert any(isinstance(module, DenseSparseLinear) for module in done.model.modules())
    assert dsformer.load(tmp_path / "out").config.num_labels == 2


def test_what_cannot_be_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    model = compressed("BertForMaskedLM")
    with pytest.raises(InputError, match="adapters: "):
        dsformer.add_lora(model, LoraConfig(target_modules=["nothing_there"]))
    with pytest.raises(InputError, match="no adapters of this model"):
        dsformer.load_lora(model, tmp_path)
    place = tmp_path / "adapters"
    place.mkdir()
    (place / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "/nowhere"}')
    with pytest.raises(InputError, match="its adapters cannot be merged"):
        dsformer.compress(place, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(adapters, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"dsformer\[peft\]"):
        dsformer.add_lora(model, LoraConfig())
