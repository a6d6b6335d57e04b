"""Vocabularies of a corpus: real tokenizers of every kind, models of many, and exact outputs."""

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoTokenizer,
    BertTokenizerFast,
    GPT2TokenizerFast,
    PreTrainedTokenizerFast,
)

import dsformer
from dsformer.errors import InputError
from dsformer.report.inspection import inspect_directory
from dsformer.vocabulary.prune import prune_vocabulary
from dsformer.vocabulary.tokenizer import rewrite_tokenizer
from dsformer.vocabulary.tokens import choose_tokens, encoded
from fixtures.models import ARCHITECTURES, tiny_model
from fixtures.training import QUICK, reviews, write_base, write_task

CORPUS = [
    f"the {a} {b} of the {c}s is {a}er"
    for a in ("small", "great", "kind")
    for b in ("house", "garden")
    for c in ("tree", "bird", "flower")
]
OTHER = [
    f"a {a} {b}, unlike {c}ing" for a in ("quick", "loud", "blue") for b in ("river", "train") for c in ("sail", "jump")
]
WORDS = [*CORPUS, *OTHER] * 3
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def trained(kind: str) -> PreTrainedTokenizerFast:
    """A real tokenizer of a kind, learned from both corpora."""
    if kind == "WordPiece":
        raw = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        raw.normalizer, raw.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
        raw.train_from_iterator(WORDS, trainers.WordPieceTrainer(vocab_size=90, special_tokens=SPECIAL))
        raw.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
        names = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
        return PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="[PAD]", **names)
    if kind == "BPE":
        raw = Tokenizer(models.BPE())
        raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        raw.train_from_iterator(WORDS, trainers.BpeTrainer(vocab_size=95, special_tokens=["<|end|>"]))
        return PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<|end|>", eos_token="<|end|>")
    raw = Tokenizer(models.Unigram())
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    raw.train_from_iterator(
        WORDS, trainers.UnigramTrainer(vocab_size=95, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>")
    )
    raw.post_processor = processors.TemplateProcessing("$A </s>", "$A </s> $B </s>", [("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


def written(directory: Path, name: str, kind: str) -> Path:
    model, tokenizer = tiny_model(name), trained(kind)
    assert len(tokenizer) <= model.config.vocab_size
    for config in filter(None, (model.config, getattr(model, "generation_config", None))):
        for key in ("pad_token_id", "eos_token_id", "bos_token_id"):
            setattr(config, key, getattr(tokenizer, key))
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


PAIRS = [
    *(("BertForMaskedLM", "WordPiece"), ("DistilBertForSequenceClassification", "WordPiece")),
    *(("ElectraForMaskedLM", "WordPiece"), ("GPT2LMHeadModel", "BPE"), ("LlamaForCausalLM", "BPE")),
    *(("Qwen2ForCausalLM", "BPE"), ("AlbertForMaskedLM", "Unigram"), ("T5ForConditionalGeneration", "Unigram")),
]


@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_texts_of_the_corpus_are_what_they_were(name: str, kind: str, tmp_path: Path):
    source = written(tmp_path / "model", name, kind)
    before, after = prune_vocabulary(source, tmp_path / "out", CORPUS)
    assert before == ARCHITECTURES[name]["vocab_size"]
    old, new = (AutoTokenizer.from_pretrained(place) for place in (source, tmp_path / "out"))
    assert len(new) == after < len(old)
    kind_of = type(tiny_model(name))
    whole, small = (kind_of.from_pretrained(place).eval() for place in (source, tmp_path / "out"))
    assert small.get_input_embeddings().weight.shape[0] == small.config.vocab_size == after
    assert small.config.pad_token_id == new.pad_token_id
    assert small.config.eos_token_id == new.eos_token_id
    text = CORPUS[5]
    given, renumbered = (tokenizer(text, return_tensors="pt")["input_ids"] for tokenizer in (old, new))
    assert new.convert_ids_to_tokens(renumbered[0]) == old.convert_ids_to_tokens(given[0])
    extra = [{"decoder_input_ids": ids} if whole.config.is_encoder_decoder else {} for ids in (given, renumbered)]
    with torch.no_grad():
        first, second = whole(given, **extra[0])[0], small(renumbered, **extra[1])[0]
    if first.shape != second.shape:
        first = first[..., [old.convert_tokens_to_ids(token) for token in new.convert_ids_to_tokens(range(after))]]
    torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["WordPiece", "BPE", "Unigram"])
def test_other_texts_of_tokens_that_stay_are_split_as_before(kind: str, tmp_path: Path):
    """Sentences the corpus does not have, of pieces it has."""
    source = written(tmp_path / "model", "GPT2LMHeadModel", kind)
    prune_vocabulary(source, tmp_path / "out", CORPUS)
    old, new = (AutoTokenizer.from_pretrained(place) for place in (source, tmp_path / "out"))
    kept = set(new.get_vocab())
    checked = 0
    for words in (
        ["great", "bird"],
        ["kinder", "gardens"],
        ["the", "small", "tree"],
        ["flowers", "of", "houses"],
        ["isers"],
    ):
        text = " ".join(words)
        pieces = old.convert_ids_to_tokens(encoded(old, [text])[0])
        if kept.issuperset(pieces):
            checked += 1
            assert new.convert_ids_to_tokens(encoded(new, [text])[0]) == pieces
    assert checked > 2
    # All else is still made of smaller pieces, not unknown.
    unknown = new.unk_token_id
    assert unknown is None or unknown not in encoded(new, ["quick loud trains"])[0]
    assert kind == "WordPiece" or new.decode(encoded(new, ["quick loud trains"])[0]).strip() == "quick loud trains"


def test_nothing_of_the_old_vocabulary_is_left(tmp_path: Path):
    source = written(tmp_path / "model", "BertForMaskedLM", "WordPiece")
    (source / "vocab.txt").write_text("old")
    prune_vocabulary(source, tmp_path / "out", CORPUS)
    names = {file.name for file in (tmp_path / "out").iterdir()}
    if "vocab.txt" in names:
        assert (tmp_path / "out" / "vocab.txt").read_text() != "old"
    fields = json.loads((tmp_path / "out" / "tokenizer.json").read_text())
    assert sorted(fields["model"]["vocab"].values()) == list(range(len(fields["model"]["vocab"])))


@pytest.mark.parametrize("loader", [AutoModel, AutoModelForMaskedLM])
def test_base_models_and_heads(tmp_path: Path, loader):
    source = written(tmp_path / "model", "BertForMaskedLM", "WordPiece")
    loader.from_pretrained(source).save_pretrained(source)
    _, after = prune_vocabulary(source, tmp_path / "out", CORPUS)
    model = loader.from_pretrained(tmp_path / "out")
    assert model.get_input_embeddings().num_embeddings == after
    if loader is AutoModelForMaskedLM:
        assert model.cls.predictions.decoder.weight is model.get_input_embeddings().weight
        assert model.cls.predictions.bias.shape == (after,)


def test_texts_can_be_generated(tmp_path: Path):
    source = written(tmp_path / "model", "GPT2LMHeadModel", "BPE")
    prune_vocabulary(source, tmp_path / "out", CORPUS)
    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(tmp_path / "out"),
        AutoTokenizer.from_pretrained(tmp_path / "out"),
    )
    ids = model.generate(**tokenizer("the small", return_tensors="pt"), max_new_tokens=4, do_sample=False)
    assert int(ids.max()) < len(tokenizer)


def test_special_tokens_stay_whatever_the_corpus():
    tokenizer = trained("WordPiece")
    kept = choose_tokens(tokenizer, ["the"], also=[40])
    assert {0, 1, 2, 3, 4, 40} <= set(kept)
    assert kept == sorted(set(kept))


def test_slow_tokenizers_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source = written(tmp_path / "model", "BertForMaskedLM", "WordPiece")
    monkeypatch.setattr(PreTrainedTokenizerFast, "is_fast", False)
    for kind in (BertTokenizerFast, GPT2TokenizerFast):
        monkeypatch.setattr(kind, "is_fast", False, raising=False)
    monkeypatch.delattr(PreTrainedTokenizerFast, "backend_tokenizer")  # slow ones have none
    with pytest.raises(InputError, match="vocabulary: only fast tokenizers"):
        prune_vocabulary(source, tmp_path / "out", CORPUS)
    assert not (tmp_path / "out").exists()


def test_the_other_verbs_take_it(tmp_path: Path):
    source = written(tmp_path / "model", "BertForMaskedLM", "WordPiece")
    prune_vocabulary(source, tmp_path / "small", CORPUS)
    quick = {"effort": {"iterations": 2, "screening": 1}}
    done = dsformer.compress(tmp_path / "small", tmp_path / "out", texts=CORPUS, ratio=1.5, **quick)
    assert done.summary.encoder_ratio > 1.45


def corpus_file(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join(CORPUS))
    return path


def test_as_a_step_of_a_recipe(tmp_path: Path):
    source = written(tmp_path / "model", "BertForMaskedLM", "WordPiece")
    quick = {"effort": {"iterations": 2, "screening": 1}, "ratio": 1.5, "texts": CORPUS}
    plain = dsformer.compress(source, tmp_path / "plain", **quick)
    done = dsformer.compress(source, tmp_path / "out", **quick, vocabulary=corpus_file(tmp_path))
    rows = plain.model.config.vocab_size - done.model.config.vocab_size
    assert rows > 10
    # 32 columns of the table, and the bias of the head.
    assert done.summary.vocabulary_bytes == rows * 33 * 4
    assert done.summary.bytes_before == plain.summary.bytes_before
    # The search may end at another form.
    assert done.summary.bytes_after == pytest.approx(plain.summary.bytes_after - rows * 33 * 4, rel=0.01)
    assert done.summary.model == str(source)
    assert done.summary.encoder_ratio == pytest.approx(plain.summary.encoder_ratio, rel=0.01)
    found = inspect_directory(tmp_path / "out")
    assert (found.bytes_before, found.bytes_after) == (done.summary.bytes_before, done.summary.bytes_after)
    loaded, tokenizer = dsformer.load(tmp_path / "out"), AutoTokenizer.from_pretrained(tmp_path / "out")
    assert len(tokenizer) == loaded.config.vocab_size


def test_the_whole_file_counts_what_is_gone(tmp_path: Path):
    source = written(tmp_path / "model", "BertForMaskedLM", "WordPiece")
    quick = {"effort": {"iterations": 2, "screening": 1}, "texts": CORPUS, "scope": "all", "embeddings": False}
    done = dsformer.compress(source, tmp_path / "out", **quick, ratio=1.5, vocabulary=corpus_file(tmp_path))
    assert done.summary.total_ratio == pytest.approx(1.5, rel=0.03)
    assert done.summary.encoder_ratio < 2.2


def test_before_training(tmp_path: Path):
    source, task = write_base(tmp_path / "base", 0.15), write_task(tmp_path / "task.csv")
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(text for text, _ in reviews(200)))
    training = {"train": "fixed", "task": str(task), "epochs": 6.0, "learning_rate": 1e-3, "bf16": False}
    done = dsformer.compress(source, tmp_path / "out", **QUICK, vocabulary=corpus, training=training)
    assert done.summary.training.trained > 70
    assert done.summary.model == str(source)
    assert done.summary.recipe["vocabulary"] == str(corpus)
    assert done.summary.vocabulary_bytes > 0
    assert done.model.config.vocab_size == len(AutoTokenizer.from_pretrained(tmp_path / "out")) < 80
    assert not (tmp_path / "out.work").exists()


def test_bad_input_leaves_nothing(tmp_path: Path):
    source = written(tmp_path / "model", "BertForMaskedLM", "WordPiece")
    with pytest.raises(InputError, match="No such file"):
        dsformer.compress(source, tmp_path / "out", vocabulary=tmp_path / "none.txt")
    with pytest.raises(InputError, match="vocabulary: needs a directory or a hub name"):
        dsformer.compress(
            tiny_model("BertForMaskedLM"),
            tmp_path / "out",
            tokenizer=trained("WordPiece"),
            vocabulary=corpus_file(tmp_path),
        )
    assert not (tmp_path / "out").exists()


def bytes_to_fall_back_to(kind: str) -> PreTrainedTokenizerFast:
    """SentencePiece's kind: characters it does not have are written as bytes."""
    byte_tokens, letters = [f"<0x{i:02X}>" for i in range(256)], sorted({*"".join(CORPUS)} | {"▁"})
    if kind == "BPE":
        tokens = ["<unk>", "</s>", *byte_tokens, *letters]
        raw = Tokenizer(
            models.BPE({t: i for i, t in enumerate(tokens)}, [], unk_token="<unk>", fuse_unk=True, byte_fallback=True)
        )
    else:
        pieces = [("<unk>", 0.0), ("</s>", 0.0), *((t, -5.0) for t in byte_tokens), *((t, -3.0) for t in letters)]
        raw = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=True))
    raw.pre_tokenizer = pre_tokenizers.Metaspace()
    raw.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="<unk>", eos_token="</s>", pad_token="</s>")


@pytest.mark.parametrize("kind", ["BPE", "Unigram"])
def test_bytes_that_characters_fall_back_to_stay(kind: str):
    tokenizer = bytes_to_fall_back_to(kind)
    new = rewrite_tokenizer(tokenizer, {old: i for i, old in enumerate(choose_tokens(tokenizer, CORPUS[:2]))})
    for text in ("the café", "日本 9"):
        assert new.unk_token_id not in new(text)["input_ids"]
        assert new.decode(new(text)["input_ids"]) == tokenizer.decode(tokenizer(text)["input_ids"])


def test_letters_that_end_words_stay():
    """CLIP's kind of byte-pair encoding has every letter twice."""
    letters = [*"abcdxyz", *(f"{letter}</w>" for letter in "abcdxyz")]
    tokens = ["<unk>", *letters, "ab</w>"]
    raw = Tokenizer(
        models.BPE({t: i for i, t in enumerate(tokens)}, [("a", "b</w>")], unk_token="<unk>", end_of_word_suffix="</w>")
    )
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="<unk>")
    new = rewrite_tokenizer(tokenizer, {old: i for i, old in enumerate(choose_tokens(tokenizer, ["ab cd"]))})
    assert new.tokenize("xyz ab") == ["x", "y", "z</w>", "ab</w>"]


def test_merges_of_parts_with_a_prefix_stay():
    """``a`` and ``##b`` are merged to ``ab``; merges to tokens that are gone go with them."""
    tokens = ["<unk>", "a", "##b", "##c", "ab", "##bc", "x", "xbc"]
    merges = [("a", "##b"), ("##b", "##c"), ("x", "##bc")]
    options = {"unk_token": "<unk>", "continuing_subword_prefix": "##"}
    raw = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges, **options))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="<unk>")
    new = rewrite_tokenizer(tokenizer, {old: i for i, old in enumerate(choose_tokens(tokenizer, ["ab"]))})
    assert new.tokenize("ab xbc") == ["ab", "x", "##b", "##c"]


def test_letters_that_stand_for_bytes_stay():
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw = Tokenizer(models.WordPiece({t: i for i, t in enumerate(["[UNK]", *alphabet, *(f"##{a}" for a in alphabet)])}))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw)
    new = rewrite_tokenizer(tokenizer, {old: i for i, old in enumerate(choose_tokens(tokenizer, ["the"]))})
    assert new.tokenize("é日") == tokenizer.tokenize("é日")


def test_what_the_tokenizer_alone_names_stays():
    """Unknown and special tokens that transformers is not told of."""
    tokens = {token: i for i, token in enumerate(["the", "bird", "[UNK]", "[CLS]", "[SEP]", "tree"])}
    raw = Tokenizer(models.WordLevel(tokens, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, [("[CLS]", 3), ("[SEP]", 4)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw)
    new = rewrite_tokenizer(tokenizer, {old: i for i, old in enumerate(choose_tokens(tokenizer, ["the tree"]))})
    assert "bird" not in new.get_vocab()
    assert new.convert_ids_to_tokens(new("the bird")["input_ids"]) == ["[CLS]", "the", "[UNK]", "[SEP]"]


@pytest.mark.parametrize("special", [False, True])
def test_tokens_beyond_the_table_stay_beyond_it(special: bool, tmp_path: Path):
    """Added without a row, as a padding token often is, and never met by the model."""
    source = written(tmp_path / "model", "GPT2LMHeadModel", "BPE")
    tokenizer, rows = AutoTokenizer.from_pretrained(source), ARCHITECTURES["GPT2LMHeadModel"]["vocab_size"]
    tokenizer.add_tokens([f"never{i}" for i in range(rows - len(tokenizer))])
    if special:
        tokenizer.add_special_tokens({"pad_token": "<pad>"})
    else:
        tokenizer.add_tokens(["neverused"])
    assert len(tokenizer) == rows + 1
    tokenizer.save_pretrained(source)
    _, after = prune_vocabulary(source, tmp_path / "out", CORPUS)
    new = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert new.convert_tokens_to_ids("<pad>" if special else "neverused") == after == len(new) - 1
    if not special:
        with pytest.raises(InputError, match=r"no row for the token 'neverused' of the text 'neverused again'"):
            prune_vocabulary(source, tmp_path / "other", [*CORPUS, "neverused again"])
        assert not (tmp_path / "other").exists()
