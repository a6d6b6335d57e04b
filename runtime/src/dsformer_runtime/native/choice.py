"""Factors, or the matrix that they multiply out to: whichever this machine multiplies faster.

Both are measured when a layer is packed, for a few milliseconds. What was found is kept in ``runtime.json`` in
``$DSFORMER_CACHE`` or the user's cache directory. ``DSFORMER_PRODUCTS=factors`` or ``dense`` forces the choice; with
``DSFORMER_AUTOTUNE=0`` nothing is measured, and factors stay.
"""

import json
import os
from contextlib import suppress
from time import perf_counter

import numpy as np

from dsformer_runtime.artefact.precision import round_rows
from dsformer_runtime.errors import RuntimeInputError
from dsformer_runtime.model import Linear, Matrix
from dsformer_runtime.native.cache import cache_file
from dsformer_runtime.native.linear import NativeLinear, load_library

FORMS = ("", "factors", "dense")
# Tokens of a measurement, and how often each form runs.
_TOKENS, _ROUNDS = 96, 5
# Part of the factors' time that the dense matrix must take to count as faster: it needs more memory.
_CLEARLY = 0.95
_known: dict[str, str] = {}


def pack_faster(linear: Linear) -> NativeLinear:
    """Pack a layer in the faster form.

    Raises:
        RuntimeInputError: ``DSFORMER_PRODUCTS`` is none of ``FORMS``, or the layer cannot be packed.
    """
    forced = os.environ.get("DSFORMER_PRODUCTS", "")
    if forced not in FORMS:
        raise RuntimeInputError(f"DSFORMER_PRODUCTS: {forced!r} is not factors or dense")
    if linear.inner is None and not _is_sparse(linear.direct):
        return NativeLinear(linear)
    if forced:
        return NativeLinear(linear if forced == "factors" else multiply_out(linear))
    key = _key(linear)
    if key not in _remembered():
        if os.environ.get("DSFORMER_AUTOTUNE") == "0":
            return NativeLinear(linear)
        _remember(key, _measure(linear))
    return NativeLinear(linear if _known[key] == "factors" else multiply_out(linear))


def multiply_out(linear: Linear) -> Linear:
    """Return the layer as one dense matrix; int8 factors give an int8 matrix with a scale for every row."""
    weight = np.zeros((linear.out_features, linear.in_features), np.float32)
    if linear.inner is not None and linear.outer is not None:
        weight += linear.outer.dense() @ linear.inner.dense()
    if linear.direct is not None:
        weight += linear.direct.dense()
    rounded = any(matrix.scales is not None for matrix in linear.matrices)
    return Linear(direct=round_rows(weight) if rounded else Matrix(weight), bias=linear.bias)


def _is_sparse(matrix: Matrix | None) -> bool:
    return matrix is not None and not bool(matrix.values.all())


def _measure(linear: Linear) -> str:
    forms = {"factors": NativeLinear(linear), "dense": NativeLinear(multiply_out(linear))}
    x = np.linspace(-1, 1, _TOKENS * linear.in_features, dtype=np.float32).reshape(_TOKENS, -1)
    shortest = dict.fromkeys(forms, float("inf"))
    for _ in range(_ROUNDS):
        for name, packed in forms.items():
            started = perf_counter()
            packed.run(x)
            shortest[name] = min(shortest[name], perf_counter() - started)
    return "dense" if shortest["dense"] < _CLEARLY * shortest["factors"] else "factors"


def _key(linear: Linear) -> str:
    """Return what the speed of a layer depends on."""
    parts = (linear.inner, linear.outer, linear.direct)
    counts = (None if part is None else (part.values.dtype.name, int(np.count_nonzero(part.values))) for part in parts)
    atoms = 0 if linear.inner is None else linear.inner.shape[0]
    instructions = load_library().dsf_isa_name().decode()
    return f"{instructions} {linear.out_features}x{linear.in_features} {atoms} {list(counts)}"


def _remembered() -> dict[str, str]:
    """Return the choices so far, with those of the file at first."""
    if not _known and (path := cache_file("runtime.json")) is not None:
        with suppress(OSError, ValueError, AttributeError):
            stored = json.loads(path.read_text(encoding="utf-8")).items()
            _known.update({key: form for key, form in stored if form in FORMS[1:]})
    return _known


def _remember(key: str, form: str) -> None:
    """Keep a choice; a file that cannot be written is skipped."""
    _known[key] = form
    if (path := cache_file("runtime.json")) is not None:
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            new = path.with_name(f".{path.name}.{os.getpid()}.partial")
            new.write_text(json.dumps(_known, indent=1, sort_keys=True), encoding="utf-8")
            new.replace(path)
