"""``compress`` on every architecture: real fits, exact bytes, and a directory that gives the same outputs."""

import json
import struct

import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import dsformer
from dsformer.errors import InputError
from dsformer.pipeline.compress import prepare
from dsformer.pipeline.factorize import factorize
from fixtures.models import ARCHITECTURES, VOCABULARY, inputs, tiny_model

QUICK = {"effort": {"iterations": 4, "screening": 2}}


def tokenizer_of(words, **tokens):
    """One that knows these words, and others as unknown."""
    fast = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    fast.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=fast, unk_token="[UNK]", eos_token="[EOS]", **tokens)


@pytest.fixture(scope="module")
def tokenizer():
    return tokenizer_of(["[PAD]", "[UNK]", "[EOS]", *(f"w{i}" for i in range(VOCABULARY - 3))], pad_token="[PAD]")


@pytest.fixture(scope="module")
def texts():
    draws = torch.randint(0, VOCABULARY - 3, (48, 12), generator=torch.Generator().manual_seed(0))
    return [" ".join(f"w{i}" for i in row.tolist()) for row in draws]


def tensor_bytes(directory):
    total = 0
    for file in directory.glob("*.safetensors"):
        content = file.read_bytes()
        (size,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + size])
        header.pop("__metadata__", None)
        total += sum(end - start for start, end in (one["data_offsets"] for one in header.values()))
        assert total == len(content) - 8 - size
    return total


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_bytes_are_as_predicted_and_outputs_survive(name, tokenizer, texts, tmp_path):
    model = tiny_model(name)
    done = dsformer.compress(
        model, tmp_path / "out", tokenizer=tokenizer, texts=texts, ratio=1.5, embeddings=True, **QUICK
    )
    assert tensor_bytes(tmp_path / "out") == done.summary.bytes_after
    assert done.summary.encoder_ratio >= 1.5
    loaded = dsformer.load(tmp_path / "out")
    with torch.no_grad():
        first, second = (one(**inputs(model))[0] for one in (done.model, loaded))
    assert torch.equal(first, second)
    loaded.save_pretrained(tmp_path / "again")
    for file in (tmp_path / "out").glob("*.safetensors"):
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes()


@pytest.mark.parametrize("kind", ["T5", "Bart"])
def test_tables_of_encoder_decoders(kind, texts, tmp_path):
    """They are tied to each other and to the head; BART's scale what is looked up, and stay."""
    words = ["[PAD]", "[UNK]", "[EOS]", *(f"w{i}" for i in range(397))]
    tokenizer = tokenizer_of(words, pad_token="[PAD]")
    sizes = {
        "T5": {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 1, "num_heads": 4, "decoder_start_token_id": 0},
        "Bart": {
            **{"d_model": 32, "scale_embedding": True, "max_position_embeddings": 40},
            **{f"{part}_{what}": n for part in ("encoder", "decoder") for what, n in (("layers", 1), ("ffn_dim", 64))},
            **{f"{part}_attention_heads": 4 for part in ("encoder", "decoder")},
        },
    }[kind]
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(vocab_size=400, pad_token_id=0, eos_token_id=2, **sizes)
    model = getattr(transformers, f"{kind}ForConditionalGeneration")(config).eval()
    done = dsformer.compress(
        model, tmp_path / "out", tokenizer=tokenizer, texts=texts, ratio=1.3, embeddings=True, **QUICK
    )
    assert tensor_bytes(tmp_path / "out") == done.summary.bytes_after
    assert any(block.kind == "embedding" for block in done.summary.blocks) == (kind == "T5")
    loaded = dsformer.load(tmp_path / "out")
    with torch.no_grad():
        first, second = (one(**inputs(model))[0] for one in (done.model, loaded))
    assert torch.equal(first, second)


def test_a_classifier_made_of_a_decoder(texts, tmp_path):
    bare = tokenizer_of(["[UNK]", "[EOS]", *(f"w{i}" for i in range(90))])
    config = transformers.GPT2Config(**ARCHITECTURES["GPT2LMHeadModel"], num_labels=3)
    model = transformers.GPT2ForSequenceClassification(config).eval()
    done = dsformer.compress(model, tmp_path / "out", tokenizer=bare, texts=texts, ratio=1.5, **QUICK)
    assert done.summary.encoder_ratio >= 1.5
    assert done.model.config.pad_token_id == 1


def test_a_tokenizer_of_ones_own_is_for_models_that_are_not_trained(tokenizer, tmp_path):
    with pytest.raises(InputError, match="the tokenizer that the model was saved with"):
        dsformer.compress("model", tmp_path, tokenizer=tokenizer, training={"train": "fixed", "task": "mrpc"})


@pytest.mark.parametrize("fields", [
    {"pattern": "grouped(8)"},
    {"pattern": "2:4", "scope": "all"},
    {"method": "low_rank"},
    {"method": "fwsvd"},
    {"method": "pruning", "pattern": "2:8", "ratio": 2.8},
    {"method": "pruning", "allocation": "uniform"},
    {"method": "sparsegpt", "pattern": "1:4", "ratio": 3.2},
    {"dtype": "bfloat16"},
    {"scope": "all", "ratio": 2.0},
], ids=str)  # fmt: skip
def test_recipes(fields, tokenizer, texts, tmp_path):
    done = dsformer.compress(
        tiny_model("BertForMaskedLM"),
        tmp_path / "out",
        tokenizer=tokenizer,
        texts=texts,
        **{"ratio": 1.5, **fields, **QUICK},
    )
    summary = done.summary
    assert tensor_bytes(tmp_path / "out") == summary.bytes_after
    reached = summary.total_ratio if fields.get("scope") == "all" else summary.encoder_ratio
    assert reached >= fields.get("ratio", 1.5)
    assert summary.type_factor == (2.0 if "dtype" in fields else 1.0)
    with torch.no_grad():
        assert torch.equal(
            done.model(**inputs(done.model))[0], dsformer.load(tmp_path / "out")(**inputs(done.model))[0]
        )


def test_orders_of_neurons_and_inside_heads_are_absorbed(tokenizer, texts):
    summary = dsformer.compress(
        tiny_model("BertForMaskedLM"), tokenizer=tokenizer, texts=texts, ratio=1.4, pattern="grouped(8)", **QUICK
    ).summary
    grouped = [block for block in summary.blocks if block.pattern == "grouped(8)"]
    for part, absorbed in (("intermediate", True), ("query", True), ("attention.output", False)):
        found = [block.permutation for block in grouped if part in block.names[0]]
        assert found, part
        assert all((permutation == 0) == absorbed for permutation in found)


def test_same_model_and_threads_same_result(tokenizer, texts):
    def values():
        made = dsformer.compress(tiny_model("BertForMaskedLM"), tokenizer=tokenizer, texts=texts, ratio=1.5, **QUICK)
        return {name: tensor.clone() for name, tensor in made.model.state_dict().items()}

    first, second = values(), values()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_fits_do_not_depend_on_the_number_of_workers(tokenizer, texts):
    prepared = prepare(tiny_model("BertForMaskedLM"), tokenizer=tokenizer, texts=texts, ratio=1.5, **QUICK)

    def forms(threads):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            return [one.fitted.form for one in factorize(prepared).blocks]
        finally:
            torch.set_num_threads(before)

    for one, other in zip(forms(1), forms(2), strict=True):
        assert one.spec == other.spec
        assert torch.equal(one.values, other.values)
        assert torch.equal(one.dictionary, other.dictionary)


def test_unreachable_ratio_names_the_largest(tokenizer, texts):
    with pytest.raises(InputError, match=r"at most \d+\.\d+"):
        dsformer.compress(tiny_model("BertForMaskedLM"), tokenizer=tokenizer, texts=texts, ratio=500.0)
    with pytest.raises(InputError, match="--embeddings"):
        dsformer.compress(
            tiny_model("BertForMaskedLM"), tokenizer=tokenizer, texts=texts, ratio=50.0, scope="all", embeddings=False
        )


def test_a_compressed_model_is_refused(tokenizer, texts, tmp_path):
    dsformer.compress(
        tiny_model("BertForMaskedLM"), tmp_path / "out", tokenizer=tokenizer, texts=texts, ratio=1.5, **QUICK
    )
    with pytest.raises(InputError, match="compressed already"):
        dsformer.compress(tmp_path / "out", tmp_path / "twice")
    assert not (tmp_path / "twice").exists()


def test_interruption_leaves_nothing(tokenizer, texts, tmp_path):
    def interrupt(stage, done, total):
        if stage == "factorize" and done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dsformer.compress(
            tiny_model("BertForMaskedLM"),
            tmp_path / "out",
            tokenizer=tokenizer,
            texts=texts,
            ratio=1.5,
            progress=interrupt,
            **QUICK,
        )
    assert list(tmp_path.iterdir()) == []
