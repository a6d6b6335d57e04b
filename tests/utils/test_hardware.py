import pytest
import torch

from dsformer.utils.hardware import fast_bf16


@pytest.mark.parametrize(
    ("amx", "avx512", "products", "fast"),
    [
        (True, False, True, True),
        (False, True, True, True),
        (False, False, True, False),
        (True, True, False, False),
    ],
)
def test_bf16_is_fast_with_products_of_its_own(
    monkeypatch: pytest.MonkeyPatch, amx: bool, avx512: bool, products: bool, fast: bool
):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512, raising=False)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: products)
    assert fast_bf16.__wrapped__() is fast


def test_a_torch_that_cannot_say(monkeypatch: pytest.MonkeyPatch):
    for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert not fast_bf16.__wrapped__()
