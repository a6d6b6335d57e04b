"""Wheels of the runtime for Linux, built by zig: what is in them, and that this machine's runs without PyTorch."""

import platform
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

RUNTIME = Path(__file__).parents[2] / "runtime"
# The newest C library that manylinux2014 allows.
OLDEST_GLIBC = 17
ENCODES = """
import sys
import numpy as np
from random_models import random_encoder
from dsformer_runtime.native.encoder import NativeEncoder
from dsformer_runtime.native.library import open_library
from dsformer_runtime.reference import ReferenceEncoder

model, ids, lengths = random_encoder(0), np.arange(40, dtype=np.int32), [1, 39]
found = NativeEncoder(model).run(ids, None, lengths)
assert np.abs(found - ReferenceEncoder(model).run(ids, None, np.array(lengths))).max() < 1e-4
assert "torch" not in sys.modules and "dsformer" not in sys.modules
print(open_library().dsf_isa_name().decode())
"""


def run(*command: object, **options: object) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def new_environment(folder: Path, *packages: object) -> Path:
    run(sys.executable, "-m", "venv", folder)
    run(folder / "bin" / "pip", "install", "--quiet", *packages)
    return folder / "bin" / "python"


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="compiles for Linux on Linux")
@pytest.mark.timeout(3600)
def test_wheels_of_linux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("DSFORMER_CPU_LIBRARY", raising=False)
    python = new_environment(tmp_path / "builder", "ziglang==0.17.1", "wheel==0.48.0")
    wheels = tmp_path / "wheels"
    targets = ("--target", "linux-x86_64", "--target", "linux-aarch64")
    run(python, RUNTIME / "build_wheels.py", "--output", wheels, *targets)
    for machine in ("x86_64", "aarch64"):
        (wheel,) = wheels.glob(f"*py3-none-*manylinux2014_{machine}*.whl")
        library = zipfile.ZipFile(wheel).read("dsformer_runtime/libdsformer_cpu.so")
        versions = {int(minor) for minor in re.findall(rb"GLIBC_2\.(\d+)", library)}
        assert max(versions) <= OLDEST_GLIBC
        if machine == platform.machine():
            fresh = new_environment(tmp_path / "fresh", wheel)
            isa = run(fresh, "-c", ENCODES, env={"PYTHONPATH": str(RUNTIME / "tests")}).strip()
            flags = Path("/proc/cpuinfo").read_text()
            assert isa != "portable" or not re.search(r"\b(avx2|asimd)\b", flags)
