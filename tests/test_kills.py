"""Commands killed at random moments: the same command then ends as if nothing had happened, and leaves nothing else."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fixtures.training import write_base, write_sentence_encoder, write_task, write_texts

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
KILLS, SEED = 4, 0
QUICK = ["--iterations", "4", "--screening", "1", "--calibration-count", "16", "--calibration-length", "16"]
LEARNING = ["--epochs", "2", "--batch-size", "16", "--learning-rate", "1e-3", "--no-bf16", "--save-steps", "3"]
# The time a command takes is not a result, nor is where it keeps what it measured.
APART = {"seconds", "speedup", "cache"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("kills")
    write_sentence_encoder(place / "encoder")
    write_base(place / "base")
    write_task(place / "reviews.csv", 100)
    write_texts(place / "texts.txt", 64)
    call(["compress", place / "encoder", "-o", place / "compressed", "--ratio", "2", *QUICK])
    return place


def words_of(name: str, place: Path, output: Path) -> list[object]:
    encoder, out = place / "encoder", ["-o", output, "--quiet"]
    distil = ["--train", "distill", "--text", place / "texts.txt"]
    grid = ["--methods", "low_rank,magnitude", "--ratios", "2", "--seconds", "0", "--evaluate", "fidelity"]
    return {
        "compress": ["compress", encoder, *out, "--ratio", "2", *QUICK, "--calibration-cache", f"{output}-cache"],
        "distill": ["compress", encoder, *out, "--ratio", "2", *QUICK, *LEARNING, *distil],
        "finetune": ["finetune", place / "base", *out, *LEARNING, "--task", place / "reviews.csv"],
        "densify": ["densify", place / "compressed", "-o", output],
        "sweep": ["sweep", encoder, *out, *QUICK, *grid],
    }[name]


def started(words: list[object]) -> subprocess.Popen:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "dsformer", *map(str, words)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def call(words: list[object]) -> float:
    """Run a command to its end. Returns how many seconds it took."""
    began, process = time.monotonic(), started(words)
    _, said = process.communicate()
    assert process.returncode == 0, said.decode()
    return time.monotonic() - began


def contents(output: Path) -> dict[str, object]:
    """What a command wrote, times aside."""
    return {str(path.relative_to(output)): said_by(path) for path in sorted(output.rglob("*")) if path.is_file()}


def said_by(path: Path) -> object:
    if path.name == "config.json":
        return without_times(json.loads(path.read_text()))
    if path.name == "results.jsonl":
        return [without_times(json.loads(line)) for line in path.read_text().splitlines()]
    return None if path.suffix in (".html", ".md") else path.read_bytes()


def without_times(value: object) -> object:
    if isinstance(value, dict):
        return {key: without_times(one) for key, one in value.items() if key not in APART}
    return [without_times(one) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", ["compress", "distill", "finetune", "densify", "sweep"])
def test_killed_commands_end_as_if_nothing_had_happened(name: str, place: Path, tmp_path: Path):
    whole, output = tmp_path / "whole" / "out", tmp_path / "killed" / "out"
    took = call(words_of(name, place, whole))
    draw = random.Random(f"{name} {SEED}")
    for _ in range(KILLS):
        process = started(words_of(name, place, output))
        # The last half is the work; before it the interpreter is still importing.
        time.sleep(took * draw.uniform(0.4, 1.0))
        process.kill()
        process.communicate()
        if output.exists() and name != "sweep":
            break
    if name == "sweep" or not output.exists():
        call(words_of(name, place, output))
    assert contents(output) == contents(whole)
    assert not [path.name for path in output.parent.rglob("*") if ".partial" in path.name]
    if name != "compress":
        assert os.listdir(output.parent) == ["out"]
