from pathlib import Path

import pytest
import torch

from dsformer.utils import hardware
from dsformer.utils.hardware import Processor, fast_bf16, processor


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


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            "processor : 0\nmodel name\t: AMD EPYC\nflags\t: fpu avx2 avx512f avx512_vnni\n",
            Processor("AMD EPYC", ("AVX2", "AVX512", "AVX512-VNNI")),
        ),
        ("Features\t: fp asimd asimddp i8mm\n", Processor("aarch64", ("NEON", "DOTPROD", "I8MM"))),
    ],
)
def test_processor(said: str, expected: Processor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "cpuinfo").write_text(said)
    monkeypatch.setattr(hardware, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert processor.__wrapped__() == expected


def test_a_system_that_does_not_list_instruction_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hardware, "CPUINFO", tmp_path / "cpuinfo")
    found = processor.__wrapped__()
    assert found.name
    assert found.features == (torch.backends.cpu.get_cpu_capability(),)
    assert str(Processor("A", ("AVX2", "NEON"))) == "A (AVX2 NEON)"
