"""What a compressed model says does not depend on how it got there: in memory, loaded again, or as a dense copy.

All text architectures of which transformers makes tiny models, in all settings, are in the slow suite; the table of
those that have none is held to be complete.
"""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import CONFIG_MAPPING, PreTrainedModel, PreTrainedTokenizerFast

import dsformer
from dsformer.errors import InputError
from dsformer.nn.compressed import StoredForm
from fixtures.architectures import SKIPPED, VOCABULARY, Head, said, text_architectures, tiny

# Head of the model, fields of its configuration, fields of the recipe, and how far a dense copy may be off: inputs of
# layers of whole numbers are rounded, those of their dense copies are not; what is off may go to other experts.
Setting = tuple[Head, dict[str, Any], dict[str, Any], float]
SETTINGS: dict[str, Setting] = {
    "plain": ("none", {}, {}, 1e-3),
    "whole file": ("language", {"tie_word_embeddings": True}, {"scope": "all", "ratio": 1.15}, 1e-3),
    "untied": ("language", {"tie_word_embeddings": False}, {"embeddings": True}, 1e-3),
    "structured": ("none", {}, {"method": "structured", "ratio": 1.15}, 1e-3),
    "structured, head": ("language", {}, {"method": "structured", "ratio": 1.1}, 1e-3),
    "int8": ("classifier", {}, {"factors": "int8"}, 0.3),
    "int8, whole file": (
        "language",
        {"tie_word_embeddings": True},
        {"scope": "all", "ratio": 1.15, "factors": "int8"},
        0.3,
    ),
    "bfloat16": ("language", {}, {"dtype": "bfloat16"}, 0.2),
}
QUICK = {"ratio": 1.3, "effort": {"iterations": 2, "screening": 1}}

# Such as there are: encoders, decoders and both; queries, keys and values apart, in one layer, and shared; gates in one
# layer and in two; experts; layers of classes of their own; tables read elsewhere; layers used many times.
FEW = [
    ("albert", "structured"),
    ("bart", "whole file"),
    ("bert", "whole file"),
    ("big_bird", "structured"),
    ("deberta", "plain"),
    ("deberta-v2", "whole file"),
    ("deepseek_v4", "bfloat16"),
    ("falcon", "whole file"),
    ("falcon_mamba", "bfloat16"),
    ("funnel", "whole file"),
    ("gemma2", "bfloat16"),
    ("gpt2", "structured"),
    ("ibert", "bfloat16"),
    ("llama", "int8, whole file"),
    ("mixtral", "plain"),
    ("modernbert", "structured"),
    ("mpnet", "whole file"),
    ("phi3", "structured"),
    ("prophetnet", "plain"),
    ("roformer", "int8"),
    ("rwkv", "plain"),
    ("t5", "whole file"),
    ("xlnet", "plain"),
]

# What a model that cannot be compressed is told.
REFUSALS = (
    "of this model can be taken out",
    "the ratio cannot be reached",
    "cannot be reached, at most",
    "zero or non-finite input",
    "form of a",
    "cannot be run without some of its channels",
)
# These do not run in that type, compressed or not.
NOT_IN = {"bfloat16": {"deberta", "fnet", "reformer", "xlnet"}}


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    words = ["[PAD]", "[UNK]", "[CLS]", "[EOS]", *(f"w{i}" for i in range(VOCABULARY - 4))]
    own = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    own.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=own, unk_token="[UNK]", eos_token="[EOS]", pad_token="[PAD]")


@pytest.fixture(scope="module")
def texts() -> list[str]:
    draws = torch.randint(0, VOCABULARY - 10, (16, 12), generator=torch.Generator().manual_seed(0))
    return [" ".join(f"w{i}" for i in row) + " [EOS]" for row in draws.tolist()]


def apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / one.norm())


def check(
    name: str, setting: str, tokenizer: PreTrainedTokenizerFast, texts: list[str], place: Path
) -> PreTrainedModel | None:
    """Compress one and hold all that it can be had as to be the same. None: it has no such head, or was refused."""
    head, fields, recipe, tolerance = SETTINGS[setting]
    model = tiny(name, head, **fields)
    if model is None or name in NOT_IN.get(setting, ()):
        return None
    model_class = type(model)
    try:
        done = dsformer.compress(model, place / "out", tokenizer=tokenizer, texts=texts, **{**QUICK, **recipe})
    except InputError as error:
        if (place / "out").exists() or not any(refusal in str(error) for refusal in REFUSALS):
            raise
        return None
    expected = said(done.model)
    assert torch.isfinite(expected).all()
    own = model_class.from_pretrained(place / "out", dtype="auto").eval()
    for loaded in (dsformer.load(place / "out"), own):
        assert type(loaded) is model_class
        assert apart(expected, said(loaded)) < 1e-5
    dsformer.densify(place / "out", place / "dense")
    dense, found = model_class.from_pretrained(place / "dense", dtype="auto", output_loading_info=True)
    assert not any(found.values()), found
    assert not any(isinstance(module, StoredForm) for module in dense.modules())
    assert apart(expected, said(dense.eval())) < tolerance
    return done.model


@pytest.mark.parametrize(("name", "setting"), FEW, ids=lambda value: value.replace(" ", "-"))
def test_memory_disk_and_dense_copy_say_the_same(name, setting, tokenizer, texts, tmp_path):
    assert check(name, setting, tokenizer, texts, tmp_path) is not None


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("setting", SETTINGS)
def test_all_of_them(setting, tokenizer, texts, tmp_path):
    # Looked for here and not where tests are collected: it imports all models there are.
    wrong = {}
    for name in text_architectures():
        if name in SKIPPED:
            continue
        place = tmp_path / name
        try:
            check(name, setting, tokenizer, texts, place)
        except Exception as error:  # all of them are to be tried
            wrong[name] = f"{type(error).__name__}: {error}"
        shutil.rmtree(place, ignore_errors=True)
    assert not wrong, "\n".join(f"{name}: {what}" for name, what in wrong.items())


@pytest.mark.slow
def test_the_table_of_those_left_out_is_complete():
    names = set(text_architectures())
    assert set(SKIPPED) <= names | {name for name in SKIPPED if name not in CONFIG_MAPPING}
    for name in sorted(names - set(SKIPPED)):
        model = tiny(name)
        assert model is not None, name
        assert model.num_parameters() < 8e6, name
        said(model)
