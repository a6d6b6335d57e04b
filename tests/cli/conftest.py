"""A tiny BERT with random weights and a WordPiece vocabulary of its own, and a way to run commands on it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizerFast

from dsformer.cli.main import app
from fixtures.training import write_base, write_task

WORDS = ["the", "a", "river", "bridge", "stone", "walks", "over", "under", "and", "old", "new", "cold", "light", "on"]
SIZES = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
# Flags that make a compression take a second.
QUICK = ["--iterations", "2", "--screening", "1", "--calibration-length", "16", "--allocation", "uniform", "--quiet"]


@dataclass(frozen=True)
class Outcome:
    """What a command printed; ``notes`` are lines on standard error beside ``err``, such as of a head that is new."""

    code: int
    out: str
    err: str
    notes: tuple[str, ...] = ()

    @property
    def error(self) -> str:
        """The one line a wrong command prints."""
        assert self.code == 2, self
        assert self.out == ""
        assert self.err.count("\n") == 1, self.err
        assert self.err.startswith("error: ")
        return self.err.removeprefix("error: ").strip()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    def invoke(*words: object) -> Outcome:
        capsys.readouterr()  # what tests themselves printed
        with pytest.raises(SystemExit) as exit_:
            app([str(word) for word in words], prog_name="dsformer")
        captured = capsys.readouterr()
        lines = captured.err.splitlines(keepends=True)
        notes = tuple(line.strip() for line in lines if line.startswith("note: "))
        err = "".join(line for line in lines if not line.startswith("note: "))
        return Outcome(exit_.value.code or 0, captured.out, err, notes)

    return invoke


def write_model(directory: Path) -> Path:
    """A BERT and its tokenizer."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    pieces = [*letters, *(f"##{letter}" for letter in letters)]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *pieces]
    directory.mkdir(parents=True)
    (directory / "vocab.txt").write_text("\n".join(dict.fromkeys(vocabulary)))
    BertTokenizerFast(str(directory / "vocab.txt")).save_pretrained(directory)
    torch.manual_seed(0)
    config = BertConfig(vocab_size=len(vocabulary), max_position_embeddings=64, **SIZES)
    BertModel(config).save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model without a head."""
    return write_base(tmp_path_factory.mktemp("models") / "base")


@pytest.fixture(scope="session")
def task_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_task(tmp_path_factory.mktemp("tasks") / "reviews.csv", 100)


@pytest.fixture
def quick(texts: Path) -> list[str]:
    return ["--calibration-text", str(texts), *QUICK]


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Calibration text of the model's words."""
    path = tmp_path_factory.mktemp("texts") / "calibration.txt"
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(len(WORDS), (24, 10), generator=generator).tolist()
    path.write_text("\n".join(" ".join(WORDS[index] for index in row) for row in rows))
    return path


@pytest.fixture(scope="session")
def compressed(model: Path, texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("compressed") / "tiny"
    with pytest.raises(SystemExit) as exit_:
        app(["compress", str(model), "-o", str(output), "--calibration-text", str(texts), *QUICK, "--ratio", "2"])
    assert not exit_.value.code
    return output
