"""The pages of results are what the rows render to; rows that say something unknown are refused."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FAMILIES = "tasks.jsonl"


def render(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "benchmarks" / "render.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Experiments, results, pages and README, to be changed."""
    for name in ("experiments", "results"):
        shutil.copytree(ROOT / "benchmarks" / name, tmp_path / name)
    shutil.copytree(ROOT / "docs" / "results", tmp_path / "pages")
    shutil.copy(ROOT / "README.md", tmp_path / "README.md")
    return tmp_path


def places(copy: Path) -> list[str | Path]:
    named = {"experiments": "experiments", "results": "results", "pages": "pages", "readme": "README.md"}
    return [part for flag, name in named.items() for part in (f"--{flag}", copy / name)]


def change(copy: Path, changed: Callable[[dict[str, Any]], object], file: str = FAMILIES) -> None:
    """Change the first row of a file."""
    path = copy / "results" / file
    first, *others = path.read_text(encoding="utf-8").splitlines()
    row = json.loads(first)
    changed(row)
    path.write_text("\n".join([json.dumps(row), *others]) + "\n", encoding="utf-8")


def refused(copy: Path, *words: str) -> None:
    """One line on stderr that has these words, and exit code 1."""
    done = render("--check", *places(copy))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert all(word in done.stderr for word in words), done.stderr


def test_committed_pages_are_what_the_rows_render_to() -> None:
    done = render("--check")
    assert done.returncode == 0, done.stderr


def test_a_changed_row_changes_its_page_and_only_that_line(copy: Path) -> None:
    rows = [json.loads(line) for line in (copy / "results" / FAMILIES).read_text(encoding="utf-8").splitlines()]
    assert rows[0]["experiment"] == "tasks"
    before = (copy / "pages" / "quality.md").read_text(encoding="utf-8").splitlines()
    change(copy, lambda row: row["scores"].update({row["tasks"][0]: 12.34}))
    refused(copy, "quality.md", "python benchmarks/render.py")
    assert render(*places(copy)).returncode == 0
    after = (copy / "pages" / "quality.md").read_text(encoding="utf-8").splitlines()
    assert sum(one != other for one, other in zip(before, after, strict=True)) == 1
    assert render("--check", *places(copy)).returncode == 0


def test_a_changed_row_changes_the_readme(copy: Path) -> None:
    change(copy, lambda row: row["scores"].update({"banking77": 12.34}), "stacking.jsonl")
    refused(copy, "README.md", "index.md")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (lambda row: row.update(experiment="nothing"), ["nothing.yaml"]),
        (lambda row: row.update(accuracy=1.0), ["unknown field 'accuracy'"]),
        (lambda row: row.pop("method"), ["'method' is missing"]),
        (lambda row: row.update(ratio="2.8"), ["ratio is '2.8'"]),
        (lambda row: row.update(scores={"mrpc": "high"}), ["scores is"]),
        (lambda row: row.update(speedup={"median": 1.0}), ["unknown field 'median'"]),
        (lambda row: row.update(machine="laptop"), ["laptop"]),
    ],
)
def test_rows_that_say_something_unknown_are_refused(
    copy: Path, changed: Callable[[dict[str, Any]], object], words: list[str]
) -> None:
    change(copy, changed)
    refused(copy, *words)


def test_a_run_that_is_there_twice_is_refused(copy: Path) -> None:
    path = copy / "results" / FAMILIES
    text = path.read_text(encoding="utf-8")
    path.write_text(text + text.splitlines()[0] + "\n", encoding="utf-8")
    refused(copy, "twice")


def test_an_unknown_field_of_an_experiment_is_refused(copy: Path) -> None:
    path = copy / "experiments" / "tasks.yaml"
    path.write_text(path.read_text(encoding="utf-8") + "colour: blue\n", encoding="utf-8")
    refused(copy, "tasks.yaml", "colour")


def test_an_experiment_without_rows_is_not_run_yet(copy: Path) -> None:
    shutil.copy(copy / "experiments" / "squad.yaml", copy / "experiments" / "later.yaml")
    assert render(*places(copy)).returncode == 0
    page = (copy / "pages" / "reproduce.md").read_text(encoding="utf-8")
    assert "`later`" in [line.split("|")[1].strip() for line in page.splitlines() if "not run yet" in line]


def test_cells_of_a_sweep_are_added(copy: Path) -> None:
    cell = {
        "key": "mine-2.8x-mrpc-seed3",
        "method": "mine",
        "ratio": 2.8,
        "task": "mrpc",
        "seed": 3,
        "learning_rate": 5e-5,
        "bytes": 100,
        "bytes_before": 280,
        "encoder_ratio": 2.8,
        "error": 0.05,
        "scores": {"mrpc": 85.0},
        "dense": {"mrpc": 86.0},
        "seconds": 1.5,
        "speedup": {"middle": 1.5, "low": 1.4, "high": 1.6},
    }
    (copy / "new.jsonl").write_text(json.dumps(cell) + "\n", encoding="utf-8")
    added = ["--add", copy / "new.jsonl", "--experiment", "tasks-rivals", "--to", "tasks", "--machine", "xeon-amx"]
    for _ in range(2):
        done = render(*added, "--commit", "abc", *places(copy))
        assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (copy / "results" / FAMILIES).read_text(encoding="utf-8").splitlines()]
    assert [row["commit"] for row in rows if row["run"] == cell["key"]] == ["abc"]
    page = (copy / "pages" / "quality.md").read_text(encoding="utf-8")
    assert "| 2.8x | `mine` | 2.80 | 1 | 0.0500 | 85.00 | -1.00 | 3 |" in page


def test_rows_of_every_script_take_the_place_of_those_there(copy: Path) -> None:
    scores = {"banking77": 81.0, "stsb": 82.0, "fidelity": 90.0}
    sizes = {"file": 300, "layers": 100, "error": 0.1, "seconds": 1.0}
    rows = {
        "quantization": {"cell": "gptq:float:7.4", "bits": 4.25, **sizes, **scores},
        "stacking": {"name": "int8-2.0", "base": "MiniLM int8", "layers_before": 200, **sizes, **scores},
        "albert": {"ratio": 2.0, "masked": 90.0, "layers_before": 200, **sizes}
        | {"told": 98.0, "factorized": 97.0, "dense_told": 99.0},
        "patterns-input-metric": {"ratio": 2.8, "scope": "encoder", "method": "dense_sparse", "pattern": "2:4"}
        | {"factors": "float", "weighting": "even", "bytes": 300, "encoder_ratio": 2.8, "total_ratio": 1.4}
        | {"mean_error": 0.1, "seconds": 1.0, **scores},
    }
    files = {"albert": "stacking", "patterns-input-metric": "encoders"}
    before = {
        path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in (copy / "results").glob("*.jsonl")
    }
    for experiment, row in rows.items():
        (copy / "new.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
        added = ["--add", copy / "new.jsonl", "--experiment", experiment, "--to", files.get(experiment, experiment)]
        done = render(*added, "--set", "texts=demo+stsb", *places(copy))
        assert done.returncode == 0, done.stderr
    after = {
        path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in (copy / "results").glob("*.jsonl")
    }
    assert after == before


def test_what_is_no_row_is_refused(copy: Path) -> None:
    (copy / "new.jsonl").write_text('{"accuracy": 1}\n', encoding="utf-8")
    done = render("--add", copy / "new.jsonl", "--experiment", "squad", *places(copy))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1


def test_errors_of_blocks_are_of_runs_that_exist() -> None:
    folder = ROOT / "benchmarks" / "results"
    rows = [
        json.loads(line) for path in folder.glob("*.jsonl") for line in path.read_text(encoding="utf-8").splitlines()
    ]
    runs = {(row["experiment"], row["run"]) for row in rows}
    _, *lines = (folder / "per_block_tasks.csv").read_text(encoding="utf-8").splitlines()
    assert {tuple(line.split(",")[:2]) for line in lines} <= runs


def test_measurements_of_speed_are_added(copy: Path) -> None:
    measured = {
        "contender": "model eager",
        "setting": {"batch": 8, "length": 16, "threads": 1},
        "median": 0.5,
        "speedup": {"middle": 1.5, "low": 1.4, "high": 1.6},
    }
    (copy / "speed.json").write_text(json.dumps({"measurements": [measured]}, indent=1), encoding="utf-8")
    added = ["--add", copy / "speed.json", "--experiment", "speed-minilm", "--to", "speed", *places(copy)]
    assert "--set model=METHOD" in render(*added).stderr
    done = render(*added, "--set", "model=dense_sparse:int8")
    assert done.returncode == 0, done.stderr
    page = (copy / "pages" / "speed.md").read_text(encoding="utf-8")
    line = next(line for line in page.splitlines() if line.startswith("| `dense_sparse`, int8 factors, PyTorch |"))
    assert line.split("|")[4].strip() == "1.50 (1.40 to 1.60)"
