"""A compression that was killed goes on with the blocks it has."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import dsformer
from dsformer.errors import InputError
from dsformer.pipeline.block_checkpoints import Checkpoints
from fixtures.training import QUICK, reviews

TEXTS = [text for text, _ in reviews(64)]
KILLED = """
import json, os, signal, sys
import dsformer

words = json.loads(sys.argv[1])

def follow(stage, done, total):
    if (stage, done) == ("factorize", 3):
        os.kill(os.getpid(), signal.SIGKILL)

dsformer.compress(words.pop("model"), words.pop("output"), progress=follow, **words)
"""


def compress(model: Path, output: Path, **fields: Any) -> dsformer.Compressed:
    return dsformer.compress(model, output, texts=TEXTS, **QUICK | fields)


def stop_after(blocks: int) -> Callable[[str, int, int], None]:
    def follow(stage: str, done: int, total: int) -> None:
        if (stage, done) == ("factorize", blocks):
            raise KeyboardInterrupt

    return follow


def interrupt(model: Path, output: Path, blocks: int, **fields: Any) -> Path:
    """Stop a compression once it has so many blocks. Returns what it leaves."""
    with pytest.raises(KeyboardInterrupt):
        compress(model, output, progress=stop_after(blocks), **fields)
    assert not output.exists()
    return output.with_name(f"{output.name}.work")


def forms(work: Path) -> dict[str, bytes]:
    """The blocks that were kept, by name."""
    return {file.name: file.read_bytes() for file in (work / "blocks").glob("*.safetensors")}


def tensors(output: Path) -> dict[str, torch.Tensor]:
    return load_file(output / "model.safetensors")


def assert_same(one: Path, other: Path) -> None:
    first, second = tensors(one), tensors(other)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"factors": "int8"},
        {"pattern": "grouped(4)"},
        {"method": "structured", "ratio": 1.5},
        {"allocation": "balanced", "method": "pruning"},
        {"share_dictionaries": True},
    ],
    ids=str,
)
def test_blocks_are_taken_up_again(base: Path, tmp_path: Path, fields: dict[str, Any]):
    work = interrupt(base, tmp_path / "out", 3, **fields)
    kept = forms(work)
    assert len(kept) >= 3
    seen: list[tuple[int, int]] = []
    compress(
        base,
        tmp_path / "out",
        progress=lambda stage, done, total: seen.append((done, total)) if stage == "factorize" else None,
        **fields,
    )
    # The first count is of none, the second of those that were kept.
    assert seen[1][0] <= len(kept)
    assert seen[-1][0] == seen[-1][1]
    compress(base, tmp_path / "whole", **fields)
    assert_same(tmp_path / "out", tmp_path / "whole")
    assert {path.name for path in tmp_path.iterdir()} == {"out", "whole"}


def test_a_killed_process(base: Path, tmp_path: Path):
    words = json.dumps({"model": str(base), "output": str(tmp_path / "out"), "texts": TEXTS, **QUICK})
    done = subprocess.run([sys.executable, "-c", KILLED, words], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    work = tmp_path / "out.work"
    assert len(forms(work)) >= 3
    damaged = min(forms(work))
    (work / "blocks" / damaged).write_bytes(b"damaged")
    compress(base, tmp_path / "out")
    compress(base, tmp_path / "whole")
    assert_same(tmp_path / "out", tmp_path / "whole")
    assert not work.exists()


def test_forms_that_were_kept_are_not_fitted_again(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    work = interrupt(base, tmp_path / "out", 2)
    kept = forms(work)

    fitted: list[str] = []
    write = Checkpoints.write_fitted

    def noted(self: Checkpoints, name: str, one: Any) -> None:
        fitted.append(name)
        write(self, name, one)

    monkeypatch.setattr(Checkpoints, "write_fitted", noted)
    compress(base, tmp_path / "out")
    assert not {f"{name}.safetensors" for name in fitted} & kept.keys()
    assert fitted


def test_other_settings_begin_anew(base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    interrupt(base, tmp_path / "out", 3)
    compress(base, tmp_path / "out", ratio=2)
    assert "out.work: an unfinished run with other settings is discarded" in caplog.text
    compress(base, tmp_path / "whole", ratio=2)
    assert_same(tmp_path / "out", tmp_path / "whole")


def test_other_weights_begin_anew(base: Path, tmp_path: Path):
    source = Path(shutil.copytree(base, tmp_path / "model"))
    interrupt(source, tmp_path / "out", 3)
    weights = load_file(source / "model.safetensors")
    save_file({name: -tensor for name, tensor in weights.items()}, source / "model.safetensors", {"format": "pt"})
    compress(source, tmp_path / "out")
    compress(source, tmp_path / "whole")
    assert_same(tmp_path / "out", tmp_path / "whole")


def test_errors_leave_nothing(base: Path, tmp_path: Path):
    with pytest.raises(InputError, match="cannot be reached"):
        compress(base, tmp_path / "out", ratio=10_000)
    assert list(tmp_path.iterdir()) == []


def test_training_does_not_go_on_from_a_run_without(base: Path, task_file: Path, tmp_path: Path):
    interrupt(base, tmp_path / "out", 3)
    with pytest.raises(InputError, match="holds an unfinished run with other settings"):
        compress(base, tmp_path / "out", training={"train": "fixed", "task": str(task_file)})
