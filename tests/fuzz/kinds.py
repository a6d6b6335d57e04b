"""Tiny artefacts of every kind that there is, to be damaged."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from transformers import PreTrainedModel

from dsformer.format.form import Form
from dsformer.format.precision import INT8, Precision
from dsformer.format.quantized import quantize_form
from dsformer.format.schema import BlockConfig
from dsformer.format.spec import FormSpec
from dsformer.models.artefact import save
from dsformer.models.hf_quantizer import attach
from dsformer.models.source import quiet
from dsformer.nn.replace import install_forms, quantize_factors
from fixtures.artefacts import without_record
from fixtures.forms import banked_spec, random_form
from fixtures.models import compress, inputs, tiny_model

CLASSIFIER = "DistilBertForSequenceClassification"
LAYER = "distilbert.transformer.layer.{}."
QKV = ("attention.q_lin", "attention.k_lin", "attention.v_lin")
SHARD = "12KB"
NO_RECORD = ", no record"


def build(folder: Path) -> None:
    """Write a directory of every kind, and one each as it was written before there were checksums."""
    for name, make in KINDS.items():
        with quiet():
            save(make(), folder / name, max_shard_size=SHARD if "sharded" in name else "5GB")
        without_record(Path(shutil.copytree(folder / name, folder / f"{name}{NO_RECORD}")))


def outputs_of(model: PreTrainedModel) -> torch.Tensor:
    """The first output on two sentences."""
    with torch.no_grad():
        return model(**inputs(model))[0]


def _compressed(name: str = CLASSIFIER, dtype: torch.dtype | None = None, **options) -> PreTrainedModel:
    model = tiny_model(name)
    compress(model, dtype=dtype, **options)
    return model if dtype is None else model.to(dtype)


def _base() -> PreTrainedModel:
    model = tiny_model(CLASSIFIER).distilbert
    compress(model)
    return model


def _installed(blocks: Sequence[BlockConfig], precision: Precision | None = None) -> PreTrainedModel:
    """A classifier with random forms in the place of some of its layers."""
    model = tiny_model(CLASSIFIER)
    forms = [_form(block, seed) for seed, block in enumerate(blocks)]
    install_forms(model, blocks, forms)
    for name, parameter in model.named_parameters():
        if name.endswith(".bias"):  # those of narrower layers are new
            torch.nn.init.normal_(parameter, std=0.1)
    if precision:
        blocks = quantize_factors(model, blocks, lambda _, form: quantize_form(form, precision))
    attach(model, blocks)
    return model


def _form(block: BlockConfig, seed: int) -> Form:
    sizes = tuple(member.out_features for member in block.members)
    return random_form(block.spec(), seed, sizes if len(sizes) > 1 else ())


def _linear(names: Sequence[str], sizes: Sequence[int], spec: FormSpec, inputs: Sequence[int] = ()) -> BlockConfig:
    return BlockConfig.of("linear", list(zip(names, sizes, strict=True)), spec, inputs=inputs)


def _sparse_dictionaries(**spec) -> list[BlockConfig]:
    blocks = []
    for layer in map(LAYER.format, range(2)):
        up = FormSpec("input", 64, 32, **spec)
        blocks.append(_linear([layer + "ffn.lin1"], [64], up))
        stacked = FormSpec("input", 96, 32, **spec)
        blocks.append(_linear([layer + name for name in QKV], [32] * 3, stacked))
    return blocks


def _shared() -> list[BlockConfig]:
    spec = FormSpec("input", 192, 32, atoms=12, core=2, nonzeros=4)
    names = [LAYER.format(number) + name for number in range(2) for name in QKV]
    return [_linear(names, [32] * 6, spec, [3, 3])]


def _banked() -> list[BlockConfig]:
    blocks = []
    for layer in map(LAYER.format, range(2)):
        up = FormSpec("input", 64, 32, atoms=12, canonical=True)
        blocks.append(_linear([layer + "ffn.lin1"], [64], banked_spec(up, 64)))
        down = FormSpec("output", 32, 64, atoms=12, canonical=True)
        blocks.append(_linear([layer + "ffn.lin2"], [32], banked_spec(down, 64)))
        stacked = FormSpec("input", 96, 32, atoms=8, canonical=True)
        blocks.append(_linear([layer + name for name in QKV], [32] * 3, banked_spec(stacked, 20, (32, 32, 32))))
    return blocks


def _structured() -> list[BlockConfig]:
    """Half of the heads, three quarters of the neurons."""
    blocks = []
    for layer in map(LAYER.format, range(2)):
        heads = _linear([layer + name for name in QKV], [16] * 3, FormSpec("input", 48, 32, atoms=10, nonzeros=4))
        blocks.append(heads.replacing([32] * 3, 32, heads=True))
        out = FormSpec("input", 32, 16, atoms=0, nonzeros=16, canonical=True)
        blocks.append(_linear([layer + "attention.out_lin"], [32], out).replacing([32], 32, heads=False))
        up = _linear([layer + "ffn.lin1"], [48], FormSpec("input", 48, 32, atoms=12, core=12))
        blocks.append(up.replacing([64], 32, heads=False))
        down = _linear([layer + "ffn.lin2"], [32], FormSpec("output", 32, 48, atoms=12, nonzeros=5))
        blocks.append(down.replacing([32], 64, heads=False))
    return blocks


_SPARSE = {"atoms": 16, "nonzeros": 4, "dictionary_nonzeros": 5}
_MONARCH = {"atoms": 32, "nonzeros": 8, "dictionary_nonzeros": 8, "blocks": 4}

# The forms of the first ones are free, grouped, n:m, low rank, pruned, canonical and ragged, with both orientations.
KINDS: dict[str, Callable[[], PreTrainedModel]] = {
    "fp32": _compressed,
    "bf16": lambda: _compressed(dtype=torch.bfloat16),
    "int8": lambda: _compressed(precision=INT8),
    "int4": lambda: _compressed(precision=Precision(4, 4)),
    "int8 and int4": lambda: _compressed(precision=Precision(4, 8)),
    "int3 with many scales": lambda: _compressed(precision=Precision(3, 8, 4)),
    "tied table": lambda: _compressed("BertForMaskedLM"),
    "encoder and decoder": lambda: _compressed("T5ForConditionalGeneration"),
    "conv1d": lambda: _compressed("GPT2LMHeadModel", embeddings=False),
    "decoder": lambda: _compressed("LlamaForCausalLM", precision=INT8),
    "shared layers": lambda: _compressed("AlbertForMaskedLM"),
    "no head": _base,
    "sharded": _compressed,
    "sharded int8": lambda: _compressed(precision=INT8),
    "double sparse": lambda: _installed(_sparse_dictionaries(**_SPARSE)),
    "double sparse int4": lambda: _installed(_sparse_dictionaries(**_SPARSE), Precision(4, 4)),
    "monarch": lambda: _installed(_sparse_dictionaries(**_MONARCH)),
    "banked": lambda: _installed(_banked()),
    "banked int4": lambda: _installed(_banked(), Precision(4, 4)),
    "shared dictionary": lambda: _installed(_shared()),
    "structured": lambda: _installed(_structured()),
}
