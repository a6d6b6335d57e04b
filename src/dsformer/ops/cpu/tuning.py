"""Autotuning of plans: the fastest settings for a kind of layer, measured once on this machine and remembered.

Three settings are measured. The first is the width of a panel. The second is whether pairs of bfloat16 are faster than
single precision, which they are not on every CPU that has them. The third is the number of tokens up to which the
kernels for few tokens are faster. A setting that is not clearly faster than the library's choice is not taken, because
times are noisy and different settings sum in different orders. The file is ``tuning.json`` in ``$DSFORMER_CACHE`` or
the user's cache directory. ``DSFORMER_AUTOTUNE=0`` leaves the choice to the library.
"""

import json
import os
import platform
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import product
from pathlib import Path
from time import perf_counter

import torch

from dsformer.format.spec import FormSpec
from dsformer.ops.cpu.library import describe
from dsformer.ops.cpu.plan import CpuPlan
from dsformer.utils.atomic_io import write_text
from dsformer_runtime.native.cache import cache_file
from dsformer_runtime.native.library import ABI_VERSION

Tuning = dict[str, int]
# Makes the plan of a layer with a tuning.
Maker = Callable[[Tuning], CpuPlan]

PANELS, PANEL_TOKENS = (2, 3, 4, 6), 128
FEW = (2, 4, 8, 16)
ROUNDS = 7
# Bytes of the largest plan that is measured. Measuring larger ones would take long and several times the memory.
LARGEST = 2**26
# Fraction of the time that a setting must take to count as faster.
CLEARLY = 0.95

_lock = threading.Lock()
_known: dict[str, Tuning] = {}


def tune(spec: FormSpec, dtype: torch.dtype, make: Maker) -> CpuPlan:
    """Make the plan of a layer with the tuning of its kind, which is measured if it is not known.

    Args:
        spec: of the layer.
        dtype: of the code values.
        make: makes the plan with a tuning.
    """
    if os.environ.get("DSFORMER_AUTOTUNE") == "0":
        return make({})
    key = _kind(spec, dtype)
    with _lock:
        if key not in _known:
            _known.update({name: tuning for name, tuning in _read().items() if name not in _known})
        if key not in _known:
            _known[key] = _measured(make, dtype)
            _write({**_read(), key: _known[key]})
        return make(_known[key])


def forget() -> None:
    """Forget the tunings, so that the file is read again before the next plan."""
    with _lock:
        _known.clear()


def file() -> Path | None:
    """Return the file of tunings; None where this user has no home directory."""
    return cache_file("tuning.json")


def _kind(spec: FormSpec, dtype: torch.dtype) -> str:
    shape = f"{spec.orientation} {spec.units}x{spec.width} {spec.pattern}{' canonical' if spec.canonical else ''}"
    return f"{ABI_VERSION} {_processor()} {describe()}: {shape} {str(dtype).removeprefix('torch.')}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _measured(make: Maker, dtype: torch.dtype) -> Tuning:
    usual = make({})
    if usual.nbytes() > LARGEST:
        return {}
    panel, few = usual.tuning()["panel_vectors"], usual.tuning()["small_tokens"]
    found: Tuning = {}
    fastest = CLEARLY
    for width, unpaired in product(PANELS, (0, 1) if dtype == torch.bfloat16 else (0,)):
        tried = {"panel_vectors": width} | ({"unpaired": 1} if unpaired else {})
        other = make(tried)
        if other.tuning()["panel_vectors"] == panel and not unpaired:  # int8 has no wider ones than 4
            continue
        before, now = _times([usual, other], PANEL_TOKENS)
        if now / before < fastest:
            found, fastest = tried, now / before
    always, never = (make(found | {"small_tokens": most}) for most in (max(FEW), -1))
    pairs = {tokens: _times([always, never], tokens) for tokens in FEW}
    return found | _limit(pairs, few)


def _limit(pairs: dict[int, list[float]], usual: int) -> Tuning:
    """Return a tuning with the number of tokens up to which the kernels for few tokens are used.

    Args:
        pairs: times of the kernels for few tokens and of those for panels, by number of tokens.
        usual: the library's choice, for which the tuning is empty.
    """
    longer = [tokens for tokens, (few, panel) in pairs.items() if tokens > usual and few < CLEARLY * panel]
    shorter = [tokens for tokens, (few, panel) in pairs.items() if tokens <= usual and panel < CLEARLY * few]
    if shorter:
        below = [tokens for tokens in pairs if tokens < min(shorter)]
        return {"small_tokens": max(below, default=1)}
    return {"small_tokens": max(longer)} if longer else {}


def _times(plans: Sequence[CpuPlan], tokens: int) -> list[float]:
    """Return the shortest time of each plan in seconds, measured in turn."""
    x = torch.linspace(-1, 1, tokens * plans[0].in_features).view(tokens, -1).to(plans[0].dtype)
    shortest = [float("inf")] * len(plans)
    for _ in range(ROUNDS):
        for i, plan in enumerate(plans):
            started = perf_counter()
            plan(x)
            shortest[i] = min(shortest[i], perf_counter() - started)
    return shortest


def _read() -> dict[str, Tuning]:
    path = file()
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path else {}
    except (OSError, ValueError):
        return {}
    names = {"panel_vectors", "small_tokens", "unpaired"}
    return {
        key: tuning
        for key, tuning in (found.items() if isinstance(found, dict) else ())
        if isinstance(tuning, dict) and set(tuning) <= names and all(type(value) is int for value in tuning.values())
    }


def _write(known: dict[str, Tuning]) -> None:
    """Write the file atomically; a file that cannot be written is skipped."""
    if path := file():
        with suppress(OSError):
            write_text(path, json.dumps(known, indent=1, sort_keys=True))
