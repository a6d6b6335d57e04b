"""Which backend runs a model, and what all of them give."""

from pathlib import Path

import numpy as np
import pytest

from dsformer_runtime import backend
from dsformer_runtime.errors import RuntimeInputError
from dsformer_runtime.families.build import load_model
from dsformer_runtime.model import EncoderModel

GOLDEN = Path(__file__).parents[2] / "tests" / "golden"
IDS, LENGTHS = np.arange(5, 25, dtype=np.int32), np.array([7, 1, 12], np.int32)


@pytest.fixture(scope="module")
def model() -> EncoderModel:
    return load_model(GOLDEN / "int8").encoder


def test_the_native_library_may_be_missing(model: EncoderModel, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(backend, "_open_native", lambda *_: None)
    with pytest.warns(UserWarning, match="NumPy runs the model"):
        assert isinstance(backend.open_backend(model), backend.ReferenceBackend)
    with pytest.raises(RuntimeInputError, match="missing for this platform"):
        backend.open_backend(model, "native")
    with pytest.raises(RuntimeInputError, match="backend"):
        backend.open_backend(model, "torch")


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
@pytest.mark.parametrize("normalize", [False, True])
def test_pooling(model: EncoderModel, pooling: backend.Pooling, normalize: bool):
    runner = backend.open_backend(model, "reference")
    hidden = np.split(runner.run(IDS, None, LENGTHS), np.cumsum(LENGTHS)[:-1])
    wanted = np.stack([{"mean": one.mean(0), "cls": one[0], "max": one.max(0)}[pooling] for one in hidden])
    wanted = wanted / np.linalg.norm(wanted, axis=1, keepdims=True) if normalize else wanted
    found = runner.run_pooled(IDS, None, LENGTHS, pooling, normalize)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_texts_do_not_change_each_other(model: EncoderModel):
    runner = backend.open_backend(model, "reference")
    together = runner.run(IDS, None, LENGTHS)
    alone = runner.run(IDS[:7], None, LENGTHS[:1])
    np.testing.assert_allclose(together[:7], alone, rtol=1e-5, atol=1e-6)


def test_linear_layers(model: EncoderModel):
    runner = backend.open_backend(model, "reference")
    layer = model.layers[0].up[0]
    x = np.random.default_rng(0).standard_normal((3, layer.in_features)).astype(np.float32)
    plain, relu = (runner.run_linear(layer, x, name) for name in ("identity", "relu"))
    assert plain.shape == (3, layer.out_features)
    assert (relu == np.maximum(plain, 0)).all()
