"""Write the golden artefacts: one of every encoding, with inputs and outputs, as the package writes them at the moment.

Those committed were written by version 0.1.0 before anything of the format changed, and are not written again: later
versions have to load them. A new encoding gets a new one: ``python tests/golden/write.py NAME``.
"""

import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import BertConfig, BertForMaskedLM, BertModel, GPT2Config, GPT2LMHeadModel, PreTrainedModel

import dsformer

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from fixtures.text import sentences, word_tokenizer  # noqa: E402

ROWS = len(word_tokenizer())
SIZES: dict[str, Any] = {
    **{"vocab_size": ROWS + 40, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
    **{"intermediate_size": 64, "max_position_embeddings": 32, "initializer_range": 0.2},
}
GPT2: dict[str, Any] = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 32, "initializer_range": 0.2}
QUICK: dict[str, Any] = {"ratio": 1.5, "effort": {"iterations": 4, "screening": 1}}

# Name to what is compressed, and the recipe's fields.
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "float32": ("encoder", {}),
    "bfloat16": ("encoder", {"dtype": "bfloat16"}),
    "float16": ("encoder", {"dtype": "float16"}),
    "int8": ("encoder", {"factors": "int8"}),
    "int4": ("encoder", {"factors": "int4"}),
    "int8+int4": ("encoder", {"factors": "int8+int4"}),
    "grouped": ("encoder", {"pattern": "grouped(8)"}),
    "n-of-m": ("encoder", {"pattern": "2:4"}),
    "banked": ("encoder", {"pattern": "banked(64)"}),
    "banked-int8": ("encoder", {"pattern": "banked(32)", "factors": "int8"}),
    "pruning": ("encoder", {"method": "pruning"}),
    "low_rank": ("encoder", {"method": "low_rank"}),
    "monarch": ("encoder", {"method": "monarch"}),
    "double_sparse": ("encoder", {"method": "double_sparse"}),
    "double_sparse-int8": ("encoder", {"method": "double_sparse", "factors": "int8"}),
    "structured": ("encoder", {"method": "structured"}),
    "gptq": ("encoder", {"method": "gptq", "ratio": 5}),
    "shared-dictionary": ("encoder", {"share_dictionaries": True, "ratio": 3}),
    "table": ("encoder", {"scope": "all"}),
    "tied-table": ("masked_lm", {"scope": "all"}),
    "tied-table-int8": ("masked_lm", {"scope": "all", "factors": "int8"}),
    "tied-table-grouped": ("masked_lm", {"scope": "all", "pattern": "grouped(4)"}),
    "conv1d": ("causal_lm", {}),
}


def make_model(kind: str) -> PreTrainedModel:
    """A tiny model with the same random weights every time."""
    torch.manual_seed(0)
    if kind == "causal_lm":
        return GPT2LMHeadModel(GPT2Config(vocab_size=SIZES["vocab_size"], **GPT2)).eval()
    return (BertModel if kind == "encoder" else BertForMaskedLM)(BertConfig(**SIZES)).eval()


def make_inputs() -> dict[str, torch.Tensor]:
    """Two texts of different lengths."""
    ids = torch.randint(5, ROWS, (2, 12), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, 8:] = 0
    return {"input_ids": ids, "attention_mask": mask}


def write(name: str) -> None:
    """The artefact ``NAME/``, and ``NAME.safetensors`` with its inputs and the outputs of the loaded model."""
    kind, fields = KINDS[name]
    torch.set_num_threads(1)
    texts = sentences(24)
    dsformer.compress(make_model(kind), HERE / name, tokenizer=word_tokenizer(), texts=texts, **{**QUICK, **fields})
    for file in ("tokenizer.json", "tokenizer_config.json", "README.md"):
        (HERE / name / file).unlink()
    inputs = make_inputs()
    with torch.no_grad():
        output = dsformer.load(HERE / name)(**inputs)[0]
    save_file({**inputs, "output": output.float()}, HERE / f"{name}.safetensors")


if __name__ == "__main__":
    for chosen in sys.argv[1:]:
        write(chosen)
