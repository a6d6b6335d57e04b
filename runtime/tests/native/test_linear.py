"""Linear layers of the native library against plain NumPy, by every instruction set that runs here."""

import numpy as np
import pytest
from random_models import Number, random_floats, random_linear, random_matrix

from dsformer_runtime.model import Floats, Linear, Matrix
from dsformer_runtime.native.library import open_library
from dsformer_runtime.native.linear import NativeLinear
from dsformer_runtime.native.structs import ACTIVATIONS
from dsformer_runtime.reference import activate

SHAPES = [(rows, columns) for rows in (1, 5, 17, 64, 65) for columns in (1, 3, 64, 65, 130)]
TOKENS = (*range(41), 97)
KINDS: tuple[tuple[Number, float], ...] = (("float", 1.0), ("float", 0.3), ("int8", 1.0), ("int8", 0.3), ("int8", 0.1))
# Of an inner, an outer and a direct matrix.
MIXTURES = (("float",) * 3, ("int8",) * 3, ("float", "int8", "int8"), ("int8", "float", "float"))
# A float32 sum of so few products is right to this part of the sum of their magnitudes.
ROUNDING = np.float64(4e-6)
# Bytes this close to the middle between two may become either.
TIE = 1e-3


def product(matrix: Matrix, x: Floats) -> tuple[np.ndarray, np.ndarray]:
    """Return x times the matrix in float64, and how far a result in float32 may be from it."""
    weights = matrix.values.astype(np.float64)
    if matrix.scales is None:
        numbers = x.astype(np.float64)
        return numbers @ weights.T, ROUNDING * (np.abs(numbers) @ np.abs(weights).T)
    low, high = x.min(1, keepdims=True, initial=0), x.max(1, keepdims=True, initial=0)
    step = (high - low).astype(np.float64) / 255
    inverse = np.divide(1, step, out=np.zeros_like(step), where=step > 1e-32)
    zero = np.rint(-low * inverse)
    exact = x * inverse + zero
    whole = np.rint(exact).clip(0, 255)
    ties = np.abs(exact - np.floor(exact) - 0.5) < TIE
    weights *= matrix.scales[:, None]
    magnitude = np.abs(whole @ weights.T) + np.abs(zero * weights.sum(1))
    return (whole - zero) @ weights.T * step, (ROUNDING * magnitude + ties @ np.abs(weights).T) * step


def compare(found: Floats, expected: np.ndarray, tolerance: np.ndarray, case: object) -> None:
    assert found.shape == expected.shape
    excess = np.abs(found - expected) - tolerance - ROUNDING * np.abs(expected) - 1e-30
    assert not (excess > 0).any(), (case, excess.max())


def check_rows(native: NativeLinear, x: Floats, case: object) -> Floats:
    """Return the outputs, which are alike whatever the number of tokens, their order and the threads."""
    whole = native.run(x)
    for tokens in TOKENS:
        assert (native.run(x[:tokens]) == whole[:tokens]).all(), (case, tokens)
    order = np.random.default_rng(0).permutation(len(x))
    assert (native.run(x[order]) == whole[order]).all(), case
    for threads in (2, 3):
        assert (native.run(np.tile(x, (3, 1)), threads=threads) == np.tile(whole, (3, 1))).all(), case
    return whole


@pytest.mark.parametrize(("number", "density"), KINDS)
def test_matrices(instruction_set: str, number: Number, density: float):
    for rows, columns in SHAPES:
        random = np.random.default_rng((rows, columns))
        linear = Linear(direct=random_matrix(random, rows, columns, number, density))
        x = random_floats(random, 97, columns)
        found = check_rows(NativeLinear(linear), x, (rows, columns))
        compare(found, *product(linear.direct, x), (rows, columns))


def factors(
    random: np.random.Generator, orientation: str, kinds: tuple[Number, Number, Number], shape: tuple[int, int, int]
) -> tuple[Matrix, Matrix, Matrix]:
    rows, atoms, columns = shape
    of_inner, of_outer = (1.0, 0.1) if orientation == "input" else (0.1, 1.0)
    inner, outer, direct = kinds
    return (
        random_matrix(random, atoms, columns, inner, of_inner),
        random_matrix(random, rows, atoms, outer, of_outer),
        random_matrix(random, rows, columns, direct, 0.1),
    )


@pytest.mark.parametrize("orientation", ["input", "output"])
@pytest.mark.parametrize(
    "kinds", [("float",) * 3, ("int8",) * 3, ("float", "int8", "int8"), ("int8", "float", "float")]
)
def test_factors(instruction_set: str, orientation: str, kinds: tuple[Number, Number, Number]):
    for rows, atoms, columns in ((5, 17, 65), (65, 64, 3), (130, 5, 130), (64, 65, 64)):
        random = np.random.default_rng((rows, columns))
        inner, outer, direct = factors(random, orientation, kinds, (rows, atoms, columns))
        x, bias = random_floats(random, 97, columns), random_floats(random, rows)
        # What is between the factors is rounded as it came out: by the inner layer alone.
        between, doubt = product(inner, x)
        if "int8" in kinds:
            between, doubt = NativeLinear(Linear(direct=inner)).run(x), np.zeros_like(between)
        through, tolerance = product(outer, between.astype(np.float32))
        tolerance += 2 * doubt @ np.abs(outer.dense()).T
        beside, more = product(direct, x)
        for with_direct in (False, True):
            for with_bias in (False, True):
                case = (rows, atoms, columns, with_direct, with_bias)
                linear = Linear(inner, outer, direct if with_direct else None, bias if with_bias else None)
                found = check_rows(NativeLinear(linear), x, case)
                expected = through + with_direct * beside + with_bias * bias
                compare(found, expected, tolerance + with_direct * (more + ROUNDING * np.abs(beside)) + 1e-6, case)


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_activations(instruction_set: str, activation: str):
    random = np.random.default_rng(0)
    for number, density in KINDS:
        linear = random_linear(random, 37, 50, number, density)
        x = 3 * random_floats(random, 23, 50)
        native = NativeLinear(linear)
        expected = activate(native.run(x), activation)
        np.testing.assert_allclose(native.run(x, activation), expected, atol=4e-6, rtol=1e-5)


def test_bytes_reach_both_ends(instruction_set: str):
    """Sums of products of 255 and -128 fit nowhere but into 32 bits."""
    for density in (1.0, 0.1):
        values = np.full((17, 512), -128, np.int8)
        values[:, int(512 * density) :] = 0
        linear = Linear(direct=Matrix(values, np.ones(17, np.float32)))
        x = np.ones((7, 512), np.float32)
        np.testing.assert_allclose(NativeLinear(linear).run(x), -128.0 * int(512 * density), rtol=1e-6)


@pytest.mark.parametrize("instruction_set", ["portable"], indirect=True)
def test_a_sparse_matrix_may_be_packed_as_a_dense_one(instruction_set: str):
    """What a banked one would take longer for."""
    random = np.random.default_rng(0)
    sizes = [
        NativeLinear(Linear(direct=random_matrix(random, 64, 512, "int8", density))).nbytes
        for density in (1.0, 0.5, 0.05)
    ]
    assert sizes[0] == sizes[1] > sizes[2]


def test_nothing_but_zeros(instruction_set: str):
    for matrix in (Matrix(np.zeros((5, 70), np.float32)), Matrix(np.zeros((5, 70), np.int8), np.ones(5, np.float32))):
        for x in (np.zeros((3, 70), np.float32), np.ones((3, 70), np.float32)):
            assert (NativeLinear(Linear(direct=matrix)).run(x) == 0).all()


def test_what_is_not_a_number_stays_in_its_token(instruction_set: str):
    random = np.random.default_rng(0)
    for number, density in KINDS:
        native = NativeLinear(random_linear(random, 20, 70, number, density))
        x = random_floats(random, 9, 70)
        expected = native.run(x)
        for bad in (np.nan, np.inf, -np.inf):
            spoilt = x.copy()
            spoilt[4, 68] = bad
            found = native.run(spoilt)
            assert number == "float" or np.isnan(found[4]).all()
            assert (np.delete(found, 4, 0) == np.delete(expected, 4, 0)).all()


def test_dense_bytes_are_alike_with_vnni_and_amx():
    """Sums are whole numbers, and what is made of them is rounded alike."""
    library = open_library()
    random = np.random.default_rng(0)
    linear, x = random_linear(random, 200, 150, "int8"), random_floats(random, 77, 150)
    found = []
    for name in ("avx512_vnni", "avx512_bf16", "amx_emulated", "amx"):
        if library is not None and not library.dsf_set_isa(name.encode()):
            found.append(NativeLinear(linear).run(x, "gelu"))
            library.dsf_set_isa(None)
    assert all((one == found[0]).all() for one in found)
