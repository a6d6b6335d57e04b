"""Without this package: transformers must refuse the files, not make up weights."""

import subprocess
import sys
from pathlib import Path

import pytest

from dsformer.models.artefact import save
from fixtures.models import compress, tiny_model

PROGRAM = """
import sys
from transformers import {name}
try:
    {name}.from_pretrained(sys.argv[1])
except (RuntimeError, ValueError) as error:
    assert "mismatch" in str(error) or "size" in str(error), error
    assert "dsformer" not in sys.modules
    print("refused")
else:
    print("loaded")
"""


# A model with nothing but linear layers compressed, one whose embedding is tied, and one of Conv1D layers.
@pytest.mark.parametrize(
    ("name", "embeddings"),
    [("DistilBertForSequenceClassification", False), ("T5ForConditionalGeneration", True), ("GPT2LMHeadModel", True)],
)
def test_unregistered_programs_refuse_the_files(name: str, embeddings: bool, tmp_path: Path):
    model = tiny_model(name)
    compress(model, embeddings)
    directory = save(model, tmp_path / "m")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(name=name), str(directory)], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip() == "refused", done.stderr
