"""Checkpoints that torchao and bitsandbytes write. Both are installed beside the environment, as other libraries import
them unasked, which takes seconds: every case is a process of its own that sees them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoModel

from fixtures.training import write_base

LIBRARIES, TESTS = Path(sys.prefix) / "quantizers", Path(__file__).parents[1]
# By how much outputs change: weights in 8 bits, and in 4.
CASES = {"torchao-int8": 0.05, "bitsandbytes-int8": 0.05, "bitsandbytes-nf4": 0.4}


@pytest.mark.skipif(not LIBRARIES.is_dir(), reason="make test installs torchao and bitsandbytes in .venv/quantizers")
@pytest.mark.parametrize("name", CASES)
def test_they_are_turned_to_floating_point_and_compressed(name: str, tmp_path: Path):
    base = write_base(tmp_path / "base", 0.15)
    program = [sys.executable, str(TESTS / "fixtures" / "quantize.py"), name, str(base), str(tmp_path)]
    path = os.pathsep.join([str(LIBRARIES), str(TESTS)])
    done = subprocess.run(program, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert (said["quantized"], said["plain"], said["described"]) == (True, True, False)
    assert 0 < said["away"] < CASES[name]
    assert said["ratio"] >= 2.5
    assert AutoModel.from_pretrained(tmp_path / "out").config.hidden_size == 64
