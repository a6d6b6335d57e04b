"""Makes the helpers in ``fixtures`` importable from every test, and all runs alike."""

import os
import sys
from collections.abc import Iterator
from inspect import isfunction
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["DSFORMER_AUTOTUNE"] = "0"
pytest_plugins = ["fixtures.trained"]
# Workers of pytest-xdist share the cores; said before torch is imported.
workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if workers > 1:
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))

from fixtures import typechecking  # noqa: E402

typechecking.check_annotations()


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """For tests that compile or trace DSFormer: what checks annotations would be compiled with it."""
    from dsformer.format.form import Form
    from dsformer.format.quantized import QuantizedForm

    # Of objects that are made in a graph, torch.compile takes no methods that remember anything.
    for kind in (Form, QuantizedForm):
        for name, member in list(vars(kind).items()):
            if isfunction(member) and hasattr(member, "__wrapped__"):
                monkeypatch.setattr(kind, name, member.__wrapped__)
    with typechecking.unchecked():
        yield
