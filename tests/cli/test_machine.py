"""What the machine refuses, damaged models, bad values: in all commands one line, exit code 2, nothing half-written."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from dsformer.utils.hardware import check_threads
from fixtures.training import write_texts

LEARNING = ["--epochs", "1", "--batch-size", "32", "--no-bf16", "--quiet"]


@contextmanager
def files_no_larger_than(count: int) -> Iterator[None]:
    """As on a disk that is full after so many bytes of every file."""
    resource = pytest.importorskip("resource")
    import signal

    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


@pytest.fixture
def commands(model: Path, base: Path, compressed: Path, task_file: Path, quick: list[str], tmp_path: Path):
    """Every command that writes, by name, on a model that is given instead of the good one."""

    def of(name: str, other: Path | None = None) -> list[object]:
        out = ["-o", tmp_path / "out"]
        return {
            "compress": ["compress", other or model, *out, *quick],
            "vocabulary": ["compress", other or model, *out, *quick, "--vocabulary", write_texts(tmp_path / "t.txt")],
            "train": ["compress", other or base, *out, *quick, *LEARNING, "--train", "fixed", "--task", task_file],
            "finetune": ["finetune", other or base, *out, *LEARNING, "--task", task_file],
            "densify": ["densify", other or compressed, *out],
            "benchmark": ["benchmark", other or model, "--batch", "1", "--length", "16", "--seconds", "0.01"],
            "evaluate": ["evaluate", other or model, "--tasks", "banking77", "--limit", "20"],
            "inspect": ["inspect", other or compressed],
        }[name]

    return of


@pytest.mark.parametrize("size", [3_000, 60_000])
@pytest.mark.parametrize("name", ["compress", "vocabulary", "train", "finetune", "densify"])
def test_a_full_disk(name: str, size: int, run: Callable, commands: Callable, tmp_path: Path):
    words = commands(name)
    before = sorted(tmp_path.rglob("*"))
    with files_no_larger_than(size):
        error = run(*words).error
    assert error.endswith("files may not grow so large here (ulimit -f); nothing was kept of what was being written")
    assert sorted(tmp_path.rglob("*")) == before
    assert run(*words).code == 0


class Unsafe:
    """A pickle of it cannot be loaded as plain tensors."""


def cut(model: Path) -> None:
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def emptied(model: Path) -> None:
    (model / "model.safetensors").write_bytes(b"")


def pickled(model: Path) -> None:
    (model / "model.safetensors").unlink()
    torch.save({"weight": Unsafe()}, model / "pytorch_model.bin")


def empty_pickle(model: Path) -> None:
    (model / "model.safetensors").unlink()
    (model / "pytorch_model.bin").write_bytes(b"")


def configured(**fields: object) -> Callable[[Path], None]:
    def change(model: Path) -> None:
        path = model / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))

    change.__name__ = str(fields)
    return change


def without_sense(model: Path) -> None:
    (model / "config.json").write_text("3")


DAMAGE = [
    *(cut, emptied, pickled, empty_pickle, without_sense),
    *(configured(architectures=wrong) for wrong in (5, {"a": 1}, [5], "BertModel")),
    *(configured(num_attention_heads=0), configured(num_attention_heads=-4), configured(hidden_size=0)),
    *(configured(num_hidden_layers="two"), configured(quantization_config=5), configured(id2label=[1])),
]


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("name", ["compress", "train", "finetune", "benchmark", "evaluate"])
def test_damaged_models(
    name: str, damage: Callable, run: Callable, commands: Callable, model: Path, base: Path, tmp_path: Path
):
    broken = Path(shutil.copytree(base if name in ("train", "finetune") else model, tmp_path / "broken"))
    damage(broken)
    words = commands(name, broken)
    if name == "evaluate":
        pytest.importorskip("sentence_transformers")
        if damage.__name__ == str({"num_attention_heads": -4}) or "architectures" in damage.__name__:
            pytest.skip("a sentence encoder that opens")
    outcome = run(*words, "--quiet") if name == "benchmark" else run(*words)
    if outcome.code == 0:  # only heads of a task are asked of the teacher
        pytest.skip("does not matter here")
    assert outcome.error
    assert not list(tmp_path.glob("*out*"))


@pytest.mark.parametrize("damage", [cut, emptied, pickled, without_sense, configured(architectures=[5])])
@pytest.mark.parametrize("name", ["inspect", "densify", "benchmark", "evaluate"])
def test_damaged_artefacts(
    name: str, damage: Callable, run: Callable, commands: Callable, compressed: Path, tmp_path: Path
):
    broken = Path(shutil.copytree(compressed, tmp_path / "broken"))
    damage(broken)
    outcome = run(*commands(name, broken))
    if name in ("inspect", "evaluate") and "architectures" in damage.__name__:
        pytest.skip("reads no class")
    assert outcome.error
    assert not list(tmp_path.glob("*out*"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--pattern", "grouped(99999999999)"], "pattern: 'grouped(99999999999)' is not one of free"),
        (["--pattern", "grouped(٨)"], "is not one of free"),
        (["--pattern", "grouped(3)"], "no layer's rows can be divided into groups of 3"),
        *((["--ridge", value], "ridge: Input should be") for value in ("inf", "nan", "1e300", "-1")),
        *((["--ratio", value], "ratio: Input should be") for value in ("inf", "nan")),
        (["--tolerance", "inf"], "tolerance: Input should be a finite number"),
        (["--learning-rate", "inf"], "learning_rate: Input should be a finite number"),
        (["--seed", "4294967296"], "seed: is larger than"),
        (["--calibration-length", "9" * 30], "length: is larger than"),
        (["--vocabulary", ""], "--vocabulary: a path is empty"),
        (["--report", ""], "--report: a path is empty"),
        (["--recipe", ""], "--recipe: a path is empty"),
    ],
)
def test_bad_values(words: list[str], message: str, run: Callable, model: Path, quick: list[str], tmp_path: Path):
    assert message in run("compress", model, "-o", tmp_path / "out", *quick, *words).error
    assert not list(tmp_path.iterdir())


def test_empty_names(run: Callable, model: Path, quick: list[str], tmp_path: Path):
    assert "the name of the model is empty" in run("compress", "", "-o", tmp_path / "out", *quick).error
    assert "the name of the model is empty" in run("benchmark", "").error
    for words in (["compress", model, "-o", ""], ["densify", model, "-o", ""], ["inspect", ""], ["demo", "-o", ""]):
        assert "a path is empty" in run(*words).error


def test_paths_are_checked_before_the_work(run: Callable, model: Path, texts: Path, quick: list[str], tmp_path: Path):
    out = tmp_path / "out"
    for report, message in (
        (tmp_path, "is a directory"),
        (model / "config.json", "lies in what is read"),
        (texts, "is what is read"),
        (texts / "page.html", "lies in what is read"),
        (out, "--report"),
        ("/proc/none/page.html", "cannot be written"),
    ):
        assert message in run("compress", model, "-o", out, *quick, "--report", report).error
    for words in (["compress", model, *quick], ["densify", model], ["finetune", model, "--task", "x"]):
        assert "is what is read" in run(*words, "--overwrite", "-o", model).error
    assert "lies in what is read" in run("compress", model, *quick, "-o", model / "small").error
    assert not list(tmp_path.iterdir())


def test_more_threads_than_make_sense(run: Callable, model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    assert "threads: 100000 is not from 1 to" in run("benchmark", model, "--threads", "100000", "--quiet").error
    words = ["sweep", model, "-o", tmp_path / "out", "--evaluate", "fidelity", "--workers", "100000"]
    assert "workers: 100000 is not from 1 to" in run(*words).error
    monkeypatch.setattr(torch, "get_num_threads", lambda: 100_000)
    assert "OMP_NUM_THREADS: 100000 is not from 1 to" in run("inspect", model).error
    check_threads(1, "threads")


def test_home_is_written_out(run: Callable, model: Path, texts: Path, quick: list[str], tmp_path: Path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"calibration: {{text: ~/{texts.name}}}")
    shutil.copy(texts, tmp_path)
    words = ["--calibration-cache", "~/cache", "--report", "~/page.html", "--recipe", "~/recipe.yaml"]
    done = run("compress", model, "-o", "~/out", *[word for word in quick if word != str(texts)][1:], *words)
    assert done.code == 0, done.err
    assert {path.name for path in tmp_path.iterdir()} == {"out", "cache", "page.html", "recipe.yaml", texts.name}
    assert run("inspect", "~/out").code == 0
