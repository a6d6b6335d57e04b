import pytest
import torch

from dsformer.pipeline import calibrate as calibration
from fixtures.models import tiny_model


@pytest.mark.parametrize(("affordable", "texts"), [(100, 16), (5, 5), (0, calibration.LEAST_PROBES)])
def test_large_models_are_probed_with_fewer_texts(monkeypatch: pytest.MonkeyPatch, affordable: int, texts: int):
    model = tiny_model("BertForMaskedLM")
    batches = [{name: torch.ones(16, length, dtype=torch.long) for name in ("a", "b")} for length in (9, 6, 3)]
    text = 2 * sum(parameter.numel() for parameter in model.parameters()) * 6 * 20
    monkeypatch.setattr(calibration, "PROBE_OPERATIONS", affordable * text)
    found = calibration.probe_batch(model, batches, 20)
    assert {name: values.shape for name, values in found.items()} == {"a": (texts, 6), "b": (texts, 6)}
