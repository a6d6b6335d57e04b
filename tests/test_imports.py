"""What an import brings along: to load and run an artefact takes a part of the package."""

import subprocess
import sys
from pathlib import Path

GOLDEN = Path(__file__).parent / "golden"
# What loading and running an artefact may import.
RUNTIME = {"errors", "_version", "utils", "format", "ops", "nn", "models"}
# Modules of the package that are loaded then, 56 when this was written: a new one is weighed.
MOST = 60


def loaded_by(code: str) -> list[str]:
    """Modules of the package that a new process has after running some code."""
    code += "\nimport sys; print('\\n'.join(name for name in sys.modules if name.startswith('dsformer.')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if line.startswith("dsformer.")]


def test_loading_and_running_an_artefact():
    code = f"""
import torch, dsformer
from transformers import AutoModel
model = AutoModel.from_pretrained({str(GOLDEN / "int8")!r})
model(torch.zeros(1, 4, dtype=torch.long))
"""
    loaded = loaded_by(code)
    assert {name.split(".")[1] for name in loaded} <= RUNTIME
    assert len(loaded) <= MOST, len(loaded)


def test_public_names():
    import dsformer

    for name in dsformer.__all__:
        assert getattr(dsformer, name) is not None
    assert set(dsformer.__all__) <= set(dir(dsformer))
