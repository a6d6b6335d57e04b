"""Makes the helpers beside this file importable, and gives tests the instruction sets that can run here."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dsformer_runtime.native.library import open_library

sys.path.insert(0, str(Path(__file__).parent))

SETS = (
    "amx",
    "amx_emulated",
    "avx512_bf16",
    "avx512_vnni",
    "avx512",
    "avx_vnni",
    "avx2",
    "neon_dot",
    "neon",
    "portable",
)


@pytest.fixture(params=SETS)
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    """What is packed during the test is packed for this set."""
    library = open_library()
    if library is None or library.dsf_set_isa(request.param.encode()):
        pytest.skip(f"no native library, or this CPU lacks {request.param}")
    yield request.param
    library.dsf_set_isa(None)
