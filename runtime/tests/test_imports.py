"""What an import brings along."""

import subprocess
import sys
from pathlib import Path

HEAVY = {"torch", "transformers", "sentence_transformers", "pydantic", "dsformer"}
LIGHT = {"numpy", "tokenizers", "safetensors"}


def loaded_by(code: str) -> set[str]:
    """Top-level modules of a new process after running some code."""
    code += "\nimport sys; print('\\n'.join({name.partition('.')[0] for name in sys.modules}))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_the_package_alone_brings_nothing():
    assert not loaded_by("import dsformer_runtime") & (HEAVY | LIGHT)


def test_all_names_bring_no_pytorch():
    code = "import dsformer_runtime\nfor name in dsformer_runtime.__all__: getattr(dsformer_runtime, name)"
    assert not loaded_by(code) & HEAVY


def test_modules_import_what_is_declared():
    allowed = {*sys.stdlib_module_names, "numpy", "tokenizers", "safetensors", "dsformer_runtime"}
    source = Path(__file__).parents[1] / "src" / "dsformer_runtime"
    for path in source.rglob("*.py"):
        for line in path.read_text(encoding="utf-8").splitlines():
            words = line.split()
            if words[:1] in (["import"], ["from"]) and not line.startswith(" ") and '"""' not in line:
                assert words[1].partition(".")[0] in allowed, (path, line)
