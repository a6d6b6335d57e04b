"""Encoders of PyTorch that run natively."""

import copy
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules
from torch import Tensor
from transformers import AutoModel, AutoModelForSequenceClassification, BertConfig, BertForSequenceClassification

import dsformer
from dsformer.errors import InputError
from dsformer.models.acceleration import NativeForward, accelerate
from dsformer.recipe import Recipe
from fixtures.families import write_family

GOLDEN = Path(__file__).parents[1] / "golden"
CALLS: list[str] = []
TEXTS = ["the red house", "big dogs sleep and the old river runs"]


@pytest.fixture(autouse=True)
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Says of every forward pass whether it was native."""
    CALLS.clear()
    run = NativeForward._run
    monkeypatch.setattr(NativeForward, "_run", lambda *arguments: CALLS.append("native") or run(*arguments))
    return CALLS


def batch(rows: int) -> dict[str, Tensor]:
    mask = torch.arange(9) < torch.tensor([9, 4, 1])[:, None]
    ids = torch.randint(5, rows, mask.shape, generator=torch.Generator().manual_seed(2))
    return {"input_ids": ids.masked_fill(~mask, 0), "attention_mask": mask.long()}


def hidden(model: torch.nn.Module, **inputs: Tensor) -> Tensor:
    with torch.inference_mode():
        return model(**inputs).last_hidden_state[inputs["attention_mask"].bool()]


@pytest.mark.parametrize("family", ["bert", "distilbert", "modernbert", "deberta-v3"])
def test_outputs_are_those_of_pytorch(family: str, tmp_path: Path):
    model = write_family(tmp_path, family).eval()
    inputs = batch(model.config.vocab_size)
    before = hidden(model, **inputs)
    assert accelerate(model) is model
    torch.testing.assert_close(hidden(model, **inputs), before, rtol=1e-4, atol=1e-5)
    assert CALLS == ["native"]


def test_the_pooler(tmp_path: Path):
    model = write_family(tmp_path, "bert").eval()
    inputs = batch(model.config.vocab_size)
    with torch.inference_mode():
        before = model(**inputs).pooler_output
        found = accelerate(model)(**inputs).pooler_output
    torch.testing.assert_close(found, before, rtol=1e-4, atol=1e-5)
    assert CALLS == ["native"]


def test_a_head_on_a_native_encoder():
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    model = BertForSequenceClassification(BertConfig(vocab_size=90, **sizes)).eval()
    inputs = batch(90)
    with torch.no_grad():
        before = model(**inputs).logits
        torch.testing.assert_close(accelerate(model)(**inputs).logits, before, rtol=1e-4, atol=1e-5)
    assert CALLS == ["native"]
    model(**inputs, labels=torch.tensor([0, 1, 0])).loss.backward()
    assert model.bert.embeddings.word_embeddings.weight.grad is not None
    assert CALLS == ["native"]


@pytest.mark.parametrize("name", ["float32", "int8", "pruning", "tied-table", "structured"])
def test_compressed_models(name: str):
    model = AutoModel.from_pretrained(GOLDEN / name)
    inputs = batch(model.config.vocab_size)
    before = hidden(model, **inputs)
    after = hidden(accelerate(model), **inputs)
    assert torch.linalg.norm(after - before) < (0.03 if name == "int8" else 1e-5) * torch.linalg.norm(before)
    assert CALLS == ["native"]


def test_changed_weights_are_packed_again(tmp_path: Path):
    model = accelerate(write_family(tmp_path, "bert").eval())
    inputs = batch(model.config.vocab_size)
    before = hidden(model, **inputs)
    with torch.no_grad():
        model.encoder.layer[1].output.dense.weight.mul_(2)
    after = hidden(model, **inputs)
    assert not torch.allclose(before, after, atol=1e-3)
    torch.testing.assert_close(after, hidden_of_class(model, inputs), rtol=1e-4, atol=1e-5)


def hidden_of_class(model: torch.nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        found = type(model).forward(model, **inputs)
    return found.last_hidden_state[inputs["attention_mask"].bool()]


def left_padded(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.flip(1) for name, tensor in inputs.items()}


def test_what_runs_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    model = accelerate(write_family(tmp_path, "bert").eval())
    inputs = batch(model.config.vocab_size)
    model(**inputs)  # with gradients
    with torch.no_grad():
        assert len(model(**inputs, output_hidden_states=True).hidden_states) == 3
        assert isinstance(model(**inputs, return_dict=False), tuple)
        model(**left_padded(inputs))
        model(inputs_embeds=torch.zeros(1, 3, model.config.hidden_size))
        with torch.autocast("cpu", torch.bfloat16):
            model(**inputs)
        seen: list[str] = []
        hook = model.encoder.layer[0].register_forward_hook(lambda *_: seen.append("hook"))
        model(**inputs)
        assert seen == ["hook"]
        hook.remove()
        monkeypatch.setenv("DSFORMER_KERNELS", "reference")
        model(**inputs)
        monkeypatch.delenv("DSFORMER_KERNELS")
        assert CALLS == []
        model(inputs["input_ids"], attention_mask=inputs["attention_mask"])
        copy.deepcopy(model)(**inputs, output_attentions=False)
    assert CALLS == ["native", "native"]


def test_sentence_transformers_runs_artefacts_natively(tmp_path: Path):
    write_family(tmp_path / "base", "bert")
    parts = [modules.Transformer(str(tmp_path / "base")), modules.Pooling(32)]
    SentenceTransformer(modules=parts, device="cpu").save_pretrained(str(tmp_path / "dense"))
    (tmp_path / "texts.txt").write_text("the red house\nbig dogs sleep\n" * 20)
    effort, calibration = {"iterations": 2, "screening": 1}, {"text": str(tmp_path / "texts.txt"), "length": 16}
    recipe = Recipe(ratio=1.5, allocation="uniform", effort=effort, calibration=calibration)
    dsformer.compress(tmp_path / "dense", tmp_path / "out", recipe=recipe)
    CALLS.clear()
    model = SentenceTransformer(str(tmp_path / "out"), device="cpu")
    native = model.encode(TEXTS)
    assert CALLS == ["native"]
    del model[0].model.forward
    np.testing.assert_allclose(native, model.encode(TEXTS), rtol=1e-4, atol=1e-5)
    assert CALLS == ["native"]


def test_unsupported_models():
    with pytest.raises(InputError, match=r"gpt2.*supported"):
        accelerate(dsformer.load(GOLDEN / "conv1d"))
    with pytest.raises(InputError, match="no encoder"):
        accelerate(torch.nn.Linear(2, 2))


def test_a_classifier_of_transformers_is_left_alone(tmp_path: Path):
    shutil.copytree(GOLDEN / "float32", tmp_path / "model")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")
    assert "forward" not in vars(model.base_model)
