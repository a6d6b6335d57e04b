"""The reference: activations, products with rounded numbers, rotary positions."""

import math

import numpy as np
import pytest

from dsformer_runtime.artefact.precision import convert, round_bfloat16, round_rows
from dsformer_runtime.model import Linear, Matrix, Norm, widen
from dsformer_runtime.reference import activate, multiply, normalize, quantize_tokens, rotate, run_linear

DRAW = np.random.default_rng(0)


def numbers(*shape: int) -> np.ndarray:
    return DRAW.standard_normal(shape).astype(np.float32)


def test_gelu():
    x = np.linspace(-9, 9, 2001, dtype=np.float32)
    exact = np.array([one * (1 + math.erf(one / math.sqrt(2))) / 2 for one in x.astype(np.float64)])
    np.testing.assert_allclose(activate(x, "gelu"), exact, atol=1e-6)


@pytest.mark.parametrize("name", ["identity", "gelu_tanh", "relu", "silu", "tanh"])
def test_activations(name: str):
    x = numbers(3, 5)
    wide = x.astype(np.float64)
    exact = {
        "identity": wide,
        "gelu_tanh": wide / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (wide + 0.044715 * wide**3))),
        "relu": np.maximum(wide, 0),
        "silu": wide / (1 + np.exp(-wide)),
        "tanh": np.tanh(wide),
    }[name]
    found = activate(x, name)  # type: ignore[arg-type]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-6)


def test_quantized_tokens_hold_zero_and_the_extremes():
    x = np.array([[0, 1, -3], [0, 0, 0], [2, 3, 4], [-1, -2, -4]], np.float32)
    whole, scales = quantize_tokens(x)
    assert (whole[x == 0] == 0).all()
    np.testing.assert_allclose(whole * scales, x, atol=0.02)
    assert whole.max() - whole.min() <= 2 * 255


def test_products_with_int8_are_exact_sums():
    x, matrix = numbers(4, 700), round_rows(numbers(6, 700))
    assert matrix.scales is not None
    whole, scales = quantize_tokens(x)
    sums = whole.astype(object) @ matrix.values.T.astype(object)
    np.testing.assert_allclose(multiply(matrix, x), sums.astype(float) * scales * matrix.scales, rtol=1e-6)


def test_rounded_rows():
    wide = numbers(5, 40)
    wide[2] = 0
    matrix = round_rows(wide)
    assert np.abs(matrix.values).max(1).tolist() == [127, 127, 0, 127, 127]
    assert np.abs(matrix.dense() - wide).max() < np.abs(wide).max() / 250


def test_bfloat16_is_rounded_to_the_nearest_even_number():
    x = np.array([1, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, -2.5, 0], np.float32)
    assert widen(round_bfloat16(x)).tolist() == [1, 1, 1 + 2**-6, 1 + 2**-7, -2.5, 0]


@pytest.mark.parametrize("dtype", [None, "float32", "bfloat16", "int8"])
@pytest.mark.parametrize("stored", ["float", "int8"])
def test_conversions(dtype: str | None, stored: str):
    matrix = Matrix(numbers(4, 30))
    matrix = round_rows(matrix.dense()) if stored == "int8" else matrix
    found = convert(matrix, dtype)
    wanted = {"float32": np.float32, "bfloat16": np.uint16, "int8": np.int8}.get(str(dtype), matrix.values.dtype)
    assert found.values.dtype == wanted
    assert (found.scales is not None) == (found.values.dtype == np.int8)
    np.testing.assert_allclose(found.dense(), matrix.dense(), atol=0.03)


def test_linear_layers_add_their_terms():
    inner, outer, direct, bias = numbers(3, 8), numbers(5, 3), numbers(5, 8), numbers(5)
    x = numbers(2, 8)
    linear = Linear(Matrix(inner), Matrix(outer), Matrix(direct), bias)
    np.testing.assert_allclose(run_linear(linear, x), x @ (outer @ inner + direct).T + bias, rtol=1e-4, atol=1e-5)
    assert (linear.out_features, linear.in_features, len(linear.matrices)) == (5, 8, 3)


def test_norm():
    x = numbers(3, 16) * 5 + 2
    y = normalize(x, Norm(1e-12))
    np.testing.assert_allclose(y.mean(1), 0, atol=1e-5)
    np.testing.assert_allclose(y.std(1), 1, rtol=1e-5)


def test_rotary_positions_depend_on_distance_alone():
    query, key = numbers(1, 1, 8), numbers(1, 1, 8)
    queries, keys = (rotate(np.repeat(one, 12, axis=1), 100.0)[0] for one in (query, key))
    scores = queries @ keys.T
    for distance in range(-5, 6):
        np.testing.assert_allclose(np.diagonal(scores, distance), scores[5, 5 + distance], atol=1e-5)
