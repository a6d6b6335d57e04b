"""The processor: its name and instruction sets, fast bfloat16 products, number of threads."""

import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from dsformer.errors import InputError

# More threads than this for each processor are a mistake. They may also be more than can be started, which ends the
# process inside the library that starts them.
MOST_THREADS = 4
CPUINFO = Path("/proc/cpuinfo")
# Instruction sets that kernels of this package and of others choose by, and their names in /proc/cpuinfo.
FEATURES = {
    "avx2": "AVX2",
    "avx512f": "AVX512",
    "avx_vnni": "AVX-VNNI",
    "avx512_vnni": "AVX512-VNNI",
    "avx512vbmi": "AVX512-VBMI",
    "avx512_bf16": "AVX512-BF16",
    "amx_int8": "AMX-INT8",
    "amx_bf16": "AMX-BF16",
    "asimd": "NEON",
    "asimddp": "DOTPROD",
    "i8mm": "I8MM",
    "bf16": "BF16",
    "sve": "SVE",
}


@dataclass(frozen=True)
class Processor:
    """A processor: the name its maker gave it, and those of ``FEATURES`` that it has."""

    name: str
    features: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name} ({' '.join(self.features)})"


@cache
def processor() -> Processor:
    """Return the processor of this machine.

    Where the system does not list instruction sets, the one that torch uses stands for them.
    """
    if CPUINFO.is_file():
        lines = [line.partition(":") for line in CPUINFO.read_text(encoding="utf-8").splitlines()]
        said = {key.strip().lower(): value.strip() for key, _, value in lines}
        flags = set(said.get("flags", said.get("features", "")).split())
        name = said.get("model name") or platform.machine()
        return Processor(name, tuple(shown for flag, shown in FEATURES.items() if flag in flags))
    name = platform.processor() or platform.machine()
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        name = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or name
    return Processor(name, (torch.backends.cpu.get_cpu_capability(),))


@cache
def fast_bf16() -> bool:
    """Return whether the processor multiplies matrices of bfloat16 faster than of single precision.

    Conversions alone (AVX-512 without its bf16 products) are no gain.
    """
    mkldnn = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    products = (getattr(torch.cpu, f"_is_{name}_supported", lambda: False) for name in ("avx512_bf16", "amx_tile"))
    return bool(mkldnn()) and any(supported() for supported in products)


def check_threads(count: int, what: str) -> None:
    """Check a number of threads before they are started.

    Args:
        count: threads asked for.
        what: the option that asks for them, for the message.

    Raises:
        InputError: the number is less than 1, or more than ``MOST_THREADS`` for each processor.
    """
    most = MOST_THREADS * (os.cpu_count() or 1)
    if not 1 <= count <= most:
        raise InputError(f"{what}: {count} is not from 1 to {most}, {MOST_THREADS} for each processor")
