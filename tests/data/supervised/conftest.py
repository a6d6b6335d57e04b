"""Tokenizers made on the spot, and a way to write files."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import BertTokenizerFast, PreTrainedTokenizerBase, PreTrainedTokenizerFast

_WORDS = ["the", "a", "who", "built", "bridge", "river", "jane", "old", "was", "by", "in", "1850", "##s", ".", "?"]


@pytest.fixture
def wordpiece(tmp_path: Path) -> PreTrainedTokenizerBase:
    """BERT's kind: words of its own, and letters for the rest."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    pieces = [*_WORDS, *letters, *(f"##{letter}" for letter in letters)]
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *pieces]))
    return BertTokenizerFast(str(path))


@pytest.fixture
def bytewise() -> PreTrainedTokenizerBase:
    """GPT-2's kind, of single bytes, without special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    fast = Tokenizer(models.BPE({letter: index for index, letter in enumerate(alphabet)}, []))
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=fast)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    def to(name: str, content: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8", newline="")
        return path

    return to
