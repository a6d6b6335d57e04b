"""Adapters of every kind of directory and object, merged before compression."""

import json
from pathlib import Path

import peft
import pytest
import torch
from peft import LoraConfig, PromptTuningConfig, TaskType, get_peft_model
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    RobertaConfig,
    RobertaModel,
)

import dsformer
from dsformer.errors import InputError
from dsformer.models.source import open_source
from fixtures.text import QUICK, sentences, sizes, word_tokenizer, write_model

IDS = torch.arange(16).view(2, 8) + 40


def lora(*targets: str, **more: object) -> LoraConfig:
    return LoraConfig(r=4, target_modules=list(targets) or None, init_lora_weights=False, **more)


def said(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(IDS)[0]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_model(BertModel(BertConfig(**sizes())), tmp_path / "base")


@pytest.mark.parametrize("labels", [1, 2, 3, 7])
@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_classifiers_of_any_number_of_labels(labels: int, family: str, base: Path, tmp_path: Path):
    """The base has no head; the one stored with the adapters says how many labels there are."""
    if family == "roberta":
        base = write_model(RobertaModel(RobertaConfig(**sizes(max_position_embeddings=66))), tmp_path / "roberta")
    whole = AutoModelForSequenceClassification.from_pretrained(base, num_labels=labels)
    adapted = get_peft_model(whole, lora(task_type=TaskType.SEQ_CLS))
    adapted.save_pretrained(tmp_path / "adapter")
    source = open_source(tmp_path / "adapter")
    torch.testing.assert_close(said(source.model), said(adapted), rtol=1e-4, atol=1e-4)
    assert source.model.config.num_labels == labels
    dsformer.compress(tmp_path / "adapter", tmp_path / "out", ratio=1.2, texts=sentences(16), **QUICK)
    assert dsformer.load(tmp_path / "out").config.num_labels == labels
    assert len(AutoTokenizer.from_pretrained(tmp_path / "out")) == len(word_tokenizer())
    left = {"adapter_config.json", "adapter_model.safetensors"}
    assert left.isdisjoint(path.name for path in (tmp_path / "out").iterdir())


def test_adapters_of_transformers_itself(base: Path, tmp_path: Path):
    model = AutoModel.from_pretrained(base)
    model.add_adapter(lora("query", "value"))
    wanted = said(model)
    model.save_pretrained(tmp_path / "adapter")
    torch.testing.assert_close(said(open_source(tmp_path / "adapter").model), wanted, rtol=1e-4, atol=1e-4)
    merged = open_source(model, word_tokenizer()).model
    torch.testing.assert_close(said(merged), wanted, rtol=1e-4, atol=1e-4)
    assert not any("lora" in name for name, _ in merged.named_parameters())
    done = dsformer.compress(
        merged, tmp_path / "out", tokenizer=word_tokenizer(), ratio=1.2, texts=sentences(16), **QUICK
    )
    torch.testing.assert_close(said(dsformer.load(tmp_path / "out")), said(done.model))


@pytest.mark.parametrize("given", ["directory", "object"])
def test_a_sentence_encoder_with_adapters(given: str, base: Path, tmp_path: Path):
    modules = [Transformer(str(base), max_seq_length=16), Pooling(64, pooling_mode="cls"), Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save(str(tmp_path / "encoder"))
    encoder = SentenceTransformer(str(tmp_path / "encoder"), device="cpu")
    encoder.add_adapter(lora("query", "value", task_type=TaskType.FEATURE_EXTRACTION))
    encoder.save(str(tmp_path / "adapted"))
    wanted = torch.tensor(encoder.encode(sentences(4, 1)))
    model = encoder if given == "object" else tmp_path / "adapted"
    dsformer.compress(model, tmp_path / "out", ratio=1.02, texts=sentences(32), **QUICK)
    now = SentenceTransformer(str(tmp_path / "out"), device="cpu")
    assert (now.max_seq_length, now[1].pooling_mode, len(now)) == (16, "cls", 3)
    assert torch.cosine_similarity(wanted, torch.tensor(now.encode(sentences(4, 1)))).min() > 0.95


def tied(tmp_path: Path) -> PreTrainedModel:
    place = write_model(LlamaForCausalLM(LlamaConfig(**sizes(tie_word_embeddings=True))), tmp_path / "lm")
    model = AutoModelForCausalLM.from_pretrained(place)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    return model


@pytest.mark.parametrize("targets", [("embed_tokens", "q_proj"), ("lm_head",), ("embed_tokens", "lm_head")])
@pytest.mark.parametrize("written", [True, False], ids=["directory", "in memory"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_adapters_on_tied_heads(targets: tuple[str, ...], written: bool, tmp_path: Path):
    """Merged into the weight that table and head share, they would change the other one too."""
    adapted = get_peft_model(tied(tmp_path), lora(*targets, task_type=TaskType.CAUSAL_LM))
    wanted = said(adapted)
    adapted.save_pretrained(tmp_path / "adapter")
    source = open_source(tmp_path / "adapter") if written else open_source(adapted, word_tokenizer())
    torch.testing.assert_close(said(source.model), wanted, rtol=1e-3, atol=1e-3)
    assert source.model.lm_head.weight is not source.model.model.embed_tokens.weight
    source.model.save_pretrained(tmp_path / "merged")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    torch.testing.assert_close(said(again), wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_head_that_was_trained_whole(tmp_path: Path):
    adapted = get_peft_model(tied(tmp_path), lora("q_proj", modules_to_save=["lm_head"], task_type=TaskType.CAUSAL_LM))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "modules_to_save" in name:
                parameter.add_(0.1)
    wanted = said(adapted)
    merged = open_source(adapted, word_tokenizer()).model
    merged.save_pretrained(tmp_path / "merged")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    torch.testing.assert_close(said(again), wanted, rtol=1e-3, atol=1e-3)


def test_adapters_that_are_not_whole(base: Path, tmp_path: Path):
    place = tmp_path / "adapter"
    get_peft_model(AutoModel.from_pretrained(base), lora("query", "value")).save_pretrained(place)
    weights = load_file(place / "adapter_model.safetensors")
    some = {key: one for i, (key, one) in enumerate(weights.items()) if i}
    other = {key.replace("layer.1", "layer.9"): one for key, one in weights.items()}
    for damaged in (some, other):
        save_file(damaged, place / "adapter_model.safetensors", {"format": "pt"})
        with pytest.raises(InputError, match="its adapters are not of this model, or not whole: base_model") as error:
            open_source(place)
        assert "\n" not in str(error.value)
    settings = json.loads((place / "adapter_config.json").read_text())
    (place / "adapter_config.json").write_text(json.dumps(settings | {"base_model_name_or_path": None}))
    with pytest.raises(InputError, match="do not say which model they are of"):
        open_source(place)
    (place / "adapter_config.json").write_text(
        json.dumps(settings | {"base_model_name_or_path": str(tmp_path / "nowhere")})
    )
    with pytest.raises(InputError, match=r"cannot be merged into their model: .*nowhere: neither a directory"):
        open_source(place)


def test_a_base_that_lacks_weights(base: Path, tmp_path: Path):
    get_peft_model(AutoModel.from_pretrained(base), lora("query")).save_pretrained(tmp_path / "adapter")
    weights = load_file(base / "model.safetensors")
    del weights["encoder.layer.0.output.dense.weight"]
    save_file(weights, base / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match="1 weights of BertModel are not in its files"):
        open_source(tmp_path / "adapter")


def test_adapters_that_cannot_be_merged(base: Path, tmp_path: Path):
    model = AutoModelForSequenceClassification.from_pretrained(base)
    prompts = get_peft_model(model, PromptTuningConfig(task_type=TaskType.SEQ_CLS, num_virtual_tokens=4))
    with pytest.raises(InputError, match="cannot be merged"):
        open_source(prompts, word_tokenizer())
    prompts.save_pretrained(tmp_path / "prompts")
    with pytest.raises(InputError, match="cannot be merged") as error:
        open_source(tmp_path / "prompts")
    assert "\n" not in str(error.value)
    assert isinstance(prompts, peft.PeftModel)
