"""Models quantized by others: GGUF files, torch's dynamic int8, and methods of transformers."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from torch import nn
from transformers import AutoModel, BertModel, LlamaConfig, LlamaForCausalLM
from transformers.quantizers.auto import register_quantization_config, register_quantizer
from transformers.quantizers.base import HfQuantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

import dsformer
from dsformer.errors import InputError
from dsformer.models import dequantize as quantized
from dsformer.models.source import open_source
from fixtures.training import QUICK, reviews, write_base, write_task

TEXTS = [text for text, _ in reviews(40)]
SIZES = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "model.layers": "blk",
}


def llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(vocab_size=97, num_key_value_heads=2, tie_word_embeddings=False, **SIZES)
    ).eval()


def write_gguf(path: Path, model: LlamaForCausalLM) -> None:
    """A real file: linear weights in Q8_0, a byte-pair tokenizer of single letters."""
    writer = gguf.GGUFWriter(str(path), "llama")
    config = model.config
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    letters = [chr(code) for code in range(33, 127)]
    tokens = ["<s>", *letters, "Ġ", "th"]
    writer.add_token_list(tokens)
    writer.add_token_types([3] + [1] * (len(tokens) - 1))
    writer.add_token_merges(["t h"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        for old, new in NAMES.items():
            name = name.replace(old, new)
        values = tensor.float()
        short = name.split(".")[-2]
        if short in heads:  # the order of rotary dimensions in such files
            count = heads[short]
            values = values.view(count, 2, -1, values.shape[1]).transpose(1, 2).reshape(values.shape)
        array = values.numpy()
        if array.ndim == 1:
            writer.add_tensor(name, array)
        else:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(name, gguf.quants.quantize(array, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_gguf_files(tmp_path: Path):
    model = llama()
    write_gguf(tmp_path / "model.gguf", model)
    source = open_source(tmp_path / "model.gguf")
    ids = torch.arange(12).view(1, 12) + 3
    with torch.no_grad():
        expected, found = model(ids).logits, source.model(ids).logits
    # Eight bits a value.
    assert float((found - expected).norm() / expected.norm()) < 0.02
    done = dsformer.compress(tmp_path / "model.gguf", tmp_path / "out", texts=TEXTS, **QUICK)
    assert done.summary.encoder_ratio >= 2.5
    loaded = dsformer.load(tmp_path / "out")
    with torch.no_grad():
        assert torch.equal(loaded(ids).logits, done.model(ids).logits)


def test_gguf_files_are_scored_as_directories_are(tmp_path: Path):
    model, name, data = llama(), "wikitext2_causal", tmp_path / "data"
    write_gguf(tmp_path / "model.gguf", model)
    source = open_source(tmp_path / "model.gguf")
    model.load_state_dict(source.model.state_dict())
    model.save_pretrained(tmp_path / "same")
    source.tokenizer.save_pretrained(tmp_path / "same")
    (data / "wikitext2").mkdir(parents=True)
    (data / "wikitext2" / "wiki.test.raw").write_text("".join(f"{text}\n" for text in TEXTS[:8]), encoding="utf-8")
    of_file, of_directory = (dsformer.evaluate(tmp_path / place, [name], data) for place in ("model.gguf", "same"))
    assert of_file[name].value == pytest.approx(of_directory[name].value)
    with pytest.raises(InputError, match=r"model\.gguf: has no head for the task wikitext2"):
        dsformer.evaluate(tmp_path / "model.gguf", ["wikitext2"], data)


def test_a_damaged_gguf_file(tmp_path: Path):
    (tmp_path / "model.gguf").write_bytes(b"GGUF" + bytes(40))
    with pytest.raises(InputError, match=r"model\.gguf: cannot be read"):
        dsformer.compress(tmp_path / "model.gguf", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_dynamic_int8(tmp_path: Path):
    base = write_base(tmp_path / "base", 0.15)
    dense = BertModel.from_pretrained(base).eval()
    small = torch.ao.quantization.quantize_dynamic(deepcopy(dense), {nn.Linear}, dtype=torch.qint8)
    tokenizer = open_source(base).tokenizer
    ids = torch.arange(10).view(1, 10) + 5
    done = dsformer.compress(small, tmp_path / "out", tokenizer=tokenizer, texts=TEXTS, **QUICK)
    plain = quantized.dequantize(
        torch.ao.quantization.quantize_dynamic(deepcopy(dense), {nn.Linear}, dtype=torch.qint8)
    )
    assert not any(quantized.is_dynamic(module) for module in plain.modules())
    with torch.no_grad():
        expected, found = dense(ids)[0], plain(ids)[0]
    assert 0 < float((found - expected).norm() / expected.norm()) < 0.05
    assert done.summary.encoder_ratio >= 2.5
    assert AutoModel.from_pretrained(tmp_path / "out").config.hidden_size == 64


class HalvesConfig(QuantizationConfigMixin):
    """Weights in half precision, under the name of a method."""

    def __init__(self, quant_method: str = "halves", turns_back: bool = True, **_: Any):
        self.quant_method, self.turns_back = quant_method, turns_back


class Halves(HfQuantizer):
    requires_calibration = False

    def _process_model_before_weight_loading(self, model: Any, **kwargs: Any) -> Any:
        return model

    def _process_model_after_weight_loading(self, model: Any, **kwargs: Any) -> Any:
        return model

    def is_serializable(self, safe_serialization: bool | None = None) -> bool:
        return True

    @property
    def is_trainable(self) -> bool:
        return False

    def _dequantize(self, model: Any, dtype: Any = None) -> Any:
        if not self.quantization_config.turns_back:
            raise NotImplementedError("halves has no implementation of `dequantize`")
        return model


@pytest.fixture(scope="module")
def halves() -> str:
    register_quantization_config("halves")(HalvesConfig)
    register_quantizer("halves")(Halves)
    return "halves"


def written(tmp_path: Path, method: str, **fields: Any) -> Path:
    base = write_base(tmp_path / "base", 0.15)
    model = BertModel.from_pretrained(base)
    model.config.quantization_config = {"quant_method": method, **fields}
    model.config.save_pretrained(base)
    return base


def test_methods_that_turn_back(halves: str, tmp_path: Path):
    done = dsformer.compress(written(tmp_path, halves), tmp_path / "out", texts=TEXTS, **QUICK)
    assert done.model.config.quantization_config.quant_method == "dsformer"
    assert dsformer.load(tmp_path / "out").config.hidden_size == 64


def test_methods_that_do_not(halves: str, tmp_path: Path):
    base = written(tmp_path, halves, turns_back=False)
    with pytest.raises(InputError, match="quantized with halves, which cannot be turned to floating point here"):
        dsformer.compress(base, tmp_path / "out", texts=TEXTS, **QUICK)
    with pytest.raises(InputError, match="quantized with halves and cannot be trained"):
        dsformer.finetune(base, tmp_path / "out", task=str(write_task(tmp_path / "task.csv")))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("method", ["gptq", "awq", "nothing_known"])
def test_methods_whose_libraries_are_not_there(method: str, tmp_path: Path):
    base = written(tmp_path, method, bits=4)
    with pytest.raises(InputError, match=f"quantized with {method}, which cannot be turned"):
        dsformer.compress(base, tmp_path / "out", texts=TEXTS, **QUICK)
