"""The native kernels against the reference, for every instruction set this machine can run."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from dsformer.errors import InputError
from dsformer.format.form import Form
from dsformer.format.pattern import Pattern
from dsformer.format.quantized import QuantizedForm, quantize_form
from dsformer.format.spec import FormSpec
from dsformer.ops import reference
from dsformer.ops.cpu import CpuPlan, available, describe
from dsformer.ops.cpu.library import set_isa
from fixtures.forms import random_form
from fixtures.native import forget_library
from fixtures.native import isa as isa
from fixtures.native import native_library as native_library

pytestmark = pytest.mark.usefixtures("native_library")
ACTIVATIONS = {
    "none": lambda y: y,
    "gelu": functional.gelu,
    "gelu_tanh": lambda y: functional.gelu(y, approximate="tanh"),
    "relu": functional.relu,
}
TOKENS = (0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33, 48, 64, 65, 100, 200)


@dataclass(frozen=True)
class Case:
    spec: FormSpec
    members: tuple[int, ...]
    bias: bool
    activation: str
    tokens: int
    tuning: tuple[tuple[str, int], ...]
    seed: int


@st.composite
def cases(draw: st.DrawFn) -> Case:
    group = draw(st.sampled_from((1, 1, 2, 4, 8, 8, 12, 16)))
    units, width = group * draw(st.integers(1, 80 // group)), draw(st.integers(1, 70))
    atoms = draw(st.one_of(st.just(0), st.integers(1, 45)))
    canonical = atoms == 0 or draw(st.booleans())
    core = draw(st.sampled_from((0, 0, atoms, atoms // 3)))
    candidates = atoms - core + (width if canonical else 0)
    nonzeros = draw(st.one_of(st.integers(0, candidates), st.integers(0, candidates // 2)))
    orientation = draw(st.sampled_from(("input", "output")))
    out_features, in_features = (units, width) if orientation == "input" else (width, units)
    pattern = Pattern(group=group)
    permuted = draw(st.booleans())
    spec = FormSpec(orientation, out_features, in_features, atoms, core, nonzeros, canonical, pattern, permuted)
    if group == 1 and nonzeros and not core and not permuted and draw(st.booleans()):
        entries = draw(st.integers(1, spec.units * nonzeros))
        spec = replace(spec, ragged=((spec.units, entries),))
    cuts = draw(st.sets(st.integers(1, out_features - 1), max_size=2)) if out_features > 1 else set()
    edges = [0, *sorted(cuts), out_features]
    members = tuple(b - a for a, b in pairwise(edges))
    tuning = draw(
        st.sampled_from(
            (
                (),
                (("small_tokens", -1),),
                (("panel_vectors", 6), ("block_bytes", 4096)),
                (("panel_vectors", 1),),
                (("unpaired", 1),),
            )
        )
    )
    rest = (draw(st.booleans()), draw(st.sampled_from(tuple(ACTIVATIONS))), draw(st.sampled_from(TOKENS)), tuning)
    return Case(spec, members, *rest, draw(st.integers(0, 9)))


def expected(form: Form, x: Tensor, bias: Tensor | None = None) -> Tensor:
    """By the reference, in double precision."""
    spec, values, x = form.spec, form.values.double(), x.double()
    dictionary = form.dictionary.double() if spec.atoms else None
    bias = None if bias is None else bias.double()
    codes = (values, form.indices, bias, form.permutation, spec.core, spec.pattern.group)
    if spec.orientation == "output":
        return reference.linear_output(x, dictionary, *codes, spec.canonical, spec.out_features)
    product = None if dictionary is None else x @ dictionary.T
    return reference.linear_input(product, x if spec.canonical else None, *codes)


def random(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def small_form(**changes) -> Form:
    return random_form(replace(FormSpec("input", 16, 12, atoms=8, nonzeros=5, canonical=True), **changes))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=cases())
def test_as_the_reference(isa: str, case: Case):
    form = random_form(case.spec, case.seed)
    x, bias = random(case.tokens, case.spec.in_features), random(case.spec.out_features) if case.bias else None
    plan = CpuPlan.of(form, bias, members=case.members, activation=case.activation, tuning=dict(case.tuning))
    ys = plan(x)
    assert [y.shape for y in ys] == [(case.tokens, size) for size in case.members]
    wanted = ACTIVATIONS[case.activation](expected(form, x, bias))
    torch.testing.assert_close(torch.cat(ys, 1).double(), wanted, rtol=2e-5, atol=2e-5)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=cases())
def test_bfloat16(isa: str, case: Case):
    form = random_form(case.spec, case.seed)
    low = Form(form.spec, form.dictionary.bfloat16(), form.values.bfloat16(), form.indices, form.permutation)
    x = random(case.tokens, case.spec.in_features, dtype=torch.bfloat16)
    bias = random(case.spec.out_features, dtype=torch.bfloat16) if case.bias else None
    y = torch.cat(CpuPlan.of(low, bias, members=case.members, tuning=dict(case.tuning))(x), 1)
    assert y.dtype == torch.bfloat16
    # Sums that cancel keep the errors of their terms.
    sizes = Form(low.spec, low.dictionary.abs(), low.values.abs(), low.indices, low.permutation)
    terms = expected(sizes, x.abs(), None if bias is None else bias.abs())
    assert ((y.double() - expected(low, x, bias)).abs() <= 8e-3 * terms).all()


def step(x: Tensor) -> Tensor:
    """What the numbers of a token are rounded to multiples of."""
    return (
        (x.amax(1, keepdim=True).clamp_min(0) - x.amin(1, keepdim=True).clamp_max(0)) / 255 if x.numel() else x[:, :1]
    )


def expected_of_bytes(rounded: QuantizedForm, x: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """By the reference, and how far off one number of the input and one of the product is allowed to be.

    What lies in the middle between two bytes may be rounded either way.
    """
    form, spec = rounded.form(), rounded.spec
    dictionary, codes = form.dictionary if spec.atoms else None, form.codes()
    output = spec.orientation == "output"
    y = reference.linear_bytes(x, dictionary, codes, bias, spec.canonical, output)
    learned = codes[:, : spec.atoms]
    product = x @ learned if output else x @ form.dictionary.T
    left = form.dictionary if output else learned
    off = step(x) * form.dense().abs().amax(1) + 1e-4 * (1 + y.abs())
    if spec.atoms:
        off = off + 1.01 * step(product) * (left.abs().amax(1) + 0.05 * left.abs().sum(1))
    return y, off


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=cases(), dtype=st.sampled_from((torch.float32, torch.bfloat16)))
def test_int8(isa: str, case: Case, dtype: torch.dtype):
    rounded = quantize_form(random_form(case.spec, case.seed))
    x = random(case.tokens, case.spec.in_features, dtype=dtype)
    bias = random(case.spec.out_features, dtype=dtype) if case.bias else None
    plan = CpuPlan.of(rounded, bias, case.members, case.activation, dict(case.tuning), dtype)
    y = torch.cat(plan(x), 1)
    assert y.dtype == dtype
    wanted, off = expected_of_bytes(rounded, x.float(), None if bias is None else bias.float())
    wanted = ACTIVATIONS[case.activation](wanted)
    off = 1.2 * off + (0.01 * wanted.abs() if dtype == torch.bfloat16 else 0)
    assert ((y.float() - wanted).abs() <= off).all()
    if case.activation == "none":
        torch.testing.assert_close(y.float(), wanted, rtol=0, atol=float(0.03 * wanted.abs().max()) if y.numel() else 0)


@pytest.mark.parametrize("tokens", [1, 6, 40, 700])
@pytest.mark.parametrize("orientation", ["input", "output"])
@pytest.mark.parametrize("group", [1, 4, 8])
def test_int8_sizes_of_real_layers(isa: str, orientation: str, group: int, tokens: int):
    shape = (384, 192) if orientation == "input" else (192, 384)
    spec = FormSpec(orientation, *shape, 61, 3, 60, True, Pattern(group=group), permuted=True)
    rounded, x = quantize_form(random_form(spec)), random(tokens, shape[1])
    wanted, _ = expected_of_bytes(rounded, x, None)
    y = CpuPlan.of(rounded)(x)[0]
    assert (y - wanted).norm() < 2e-3 * wanted.norm()


def test_int8_extremes(isa: str):
    spec = FormSpec("input", 16, 40, atoms=0, nonzeros=40, canonical=True)
    form = random_form(spec)
    ones = Form(spec, form.dictionary, torch.ones_like(form.values), form.indices)
    x = torch.zeros(6, 40)
    x[1], x[2, 3], x[3, 5], x[4], x[5, 0] = -2.0, 1e30, float("nan"), 1e-38, float("inf")
    y = CpuPlan.of(quantize_form(ones))(x)[0]
    assert not y[0].any()
    torch.testing.assert_close(y[1], torch.full((16,), -80.0), rtol=1e-3, atol=0)
    torch.testing.assert_close(y[2], torch.full((16,), 1e30), rtol=5e-3, atol=0)
    assert y[3].isnan().all()
    assert not y[4].any()
    assert y[5].isnan().all()


def test_int8_products_do_not_saturate(isa: str):
    """The largest bytes there are, all of one sign."""
    spec = FormSpec("input", 8, 4096, atoms=0, nonzeros=4096, canonical=True)
    form = random_form(spec)
    ones = Form(spec, form.dictionary, torch.full_like(form.values, -1.0), form.indices)
    for x in (torch.ones(20, 4096), -torch.ones(1, 4096)):
        torch.testing.assert_close(
            CpuPlan.of(quantize_form(ones))(x)[0], -x.sum(1, True).expand(-1, 8), rtol=5e-3, atol=0
        )


def test_int8_needs_its_scales():
    form = quantize_form(small_form())
    with pytest.raises(InputError, match="scales for int8 values"):
        CpuPlan.of(replace(form, value_scales=form.value_scales[:-1]))
    layout = (0, 1, True, False, 16)
    with pytest.raises(InputError, match="scales for int8 values"):
        CpuPlan(form.values, form.indices, None, form.dictionary, None, *layout)
    with pytest.raises(InputError, match=r"weights must be torch\.int8"):
        CpuPlan(form.values, form.indices, None, form.dictionary.float(), None, *layout)


@pytest.mark.parametrize("tokens", [1, 6, 40, 700])
@pytest.mark.parametrize("orientation", ["input", "output"])
@pytest.mark.parametrize("group", [1, 8])
def test_sizes_of_real_layers(isa: str, orientation: str, group: int, tokens: int):
    shape = (384, 192) if orientation == "input" else (192, 384)
    spec = FormSpec(orientation, *shape, 61, 3, 60, True, Pattern(group=group), permuted=True)
    form, x = random_form(spec), random(tokens, shape[1])
    torch.testing.assert_close(CpuPlan.of(form)(x)[0].double(), expected(form, x), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("tokens", "count"), [(1, 2), (3, 2), (16, 2), (20, 2), (500, 2), (70, 8), (112, 8), (200, 16)]
)
@pytest.mark.parametrize("group", [1, 8])
@pytest.mark.parametrize("orientation", ["input", "output"])
def test_work_shared_by_openmp_threads(orientation: str, group: int, tokens: int, count: int, dtype: torch.dtype):
    shape = (640, 320) if orientation == "input" else (320, 640)
    spec = FormSpec(orientation, *shape, 61, 5, 250, True, Pattern(group=group), permuted=True)
    form = random_form(spec)
    form = Form(form.spec, form.dictionary.to(dtype), form.values.to(dtype), form.indices, form.permutation)
    x, bias = random(tokens, shape[1], dtype=dtype), random(shape[0], dtype=dtype)
    plan, threads = CpuPlan.of(form, bias, activation="gelu"), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        alone = plan(x)[0]
        torch.set_num_threads(count)
        for _ in range(20 if count == 2 else 3):
            torch.testing.assert_close(plan(x)[0], alone)
    finally:
        torch.set_num_threads(threads)


def test_threads_share_a_plan():
    form = small_form()
    plan = CpuPlan.of(form)

    def work(seed: int) -> int:
        for tokens in (1, 5, 70, 33) * 20:
            x = random(tokens, 12, seed=seed)
            torch.testing.assert_close(plan(x)[0].double(), expected(form, x), rtol=1e-5, atol=1e-5)
        return seed

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(4))) == [0, 1, 2, 3]


def test_inputs_of_any_strides():
    form = small_form()
    plan, x = CpuPlan.of(form), random(12, 3, 4)
    strided = (x.permute(1, 2, 0), x.permute(2, 1, 0)[::2], x[:, :1].permute(1, 2, 0).expand(5, 4, -1), x[:, 0, 0])
    for one in (*strided, random(9, 40)[:, 3:15], random(6, 12)[::2], random(12).expand(20, 12), x.new_empty(2, 0, 12)):
        y = plan(one)[0]
        assert y.shape == (*one.shape[:-1], 16)
        torch.testing.assert_close(y.double().view(-1, 16), expected(form, one.reshape(-1, 12)), rtol=1e-5, atol=1e-5)


def test_outputs_given():
    plan, x = CpuPlan.of(small_form(), members=(6, 10)), random(5, 12)
    ys = [torch.full((5, 6), torch.nan), torch.full((5, 10), torch.nan)]
    assert all(a is b for a, b in zip(plan(x, ys), ys, strict=True))
    assert torch.equal(torch.cat(ys, 1), torch.cat(plan(x), 1))
    for wrong in ([ys[0]], [ys[1], ys[0]], [ys[0], ys[1].double()], [ys[0], random(10, 5).t()]):
        with pytest.raises(ValueError, match=r"output|zip"):
            plan(x, wrong)


def test_large_outputs():
    plan, form, x = CpuPlan.of(small_form()), small_form(), random(600_000, 12)
    torch.testing.assert_close(plan(x)[0][::5003].double(), expected(form, x[::5003]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh", "relu"])
def test_activations_far_out(isa: str, activation: str):
    form = Form(FormSpec("input", 1, 1, 0, 0, 1, True), torch.empty(0, 1), torch.ones(1, 1), torch.zeros(1, 1).int())
    special = torch.tensor([0.0, -0.0, 1e-30, -1e-30, 1e30, -1e30, torch.nan])
    x = torch.cat([torch.linspace(-12, 12, 4001), special]).view(-1, 1)
    y, wanted = CpuPlan.of(form, activation=activation)(x)[0].double(), ACTIVATIONS[activation](x.double())
    torch.testing.assert_close(y, wanted, rtol=1e-5, atol=1e-6, equal_nan=True)


def test_types_and_shapes_are_checked():
    form = small_form()
    plan = CpuPlan.of(form)
    for x in (random(3, 11), random(3, 12).double(), random(3, 12).bfloat16(), torch.empty(3, 12, device="meta")):
        with pytest.raises(InputError):
            plan(x)
    with pytest.raises(InputError):
        CpuPlan.of(Form(form.spec, form.dictionary.bfloat16(), form.values, form.indices))
    with pytest.raises(InputError):
        CpuPlan.of(form, random(15))


@pytest.mark.parametrize(
    "indices", [[0, 1, 2, 3, 20], [-1, 1, 2, 3, 4], [0, 1, 1, 3, 4], [4, 3, 2, 1, 0], [2**31 - 1, 0, 1, 2, 3]], ids=str
)
@pytest.mark.parametrize("orientation", ["input", "output"])
@pytest.mark.parametrize("group", [1, 4])
def test_bad_indices_are_refused(indices: list[int], orientation: str, group: int):
    spec = FormSpec(orientation, 16 if orientation == "input" else 12, 12 if orientation == "input" else 16, 8)
    form = random_form(replace(spec, nonzeros=5, canonical=True, pattern=Pattern(group=group)))
    form.indices[-1] = torch.tensor(indices)
    with pytest.raises(InputError, match="indices"):
        CpuPlan.of(form)


@pytest.mark.parametrize("place", [(0, 16), (0, -1), (0, 1), (15, 2**40)], ids=str)
def test_bad_permutations_are_refused(place: tuple[int, int]):
    form = small_form(pattern=Pattern(group=4))
    order = torch.arange(16)
    order[place[0]] = place[1]
    with pytest.raises(InputError, match="permutation"):
        CpuPlan.of(replace(form, permutation=order))


def test_bad_sizes_are_refused():
    form = small_form()
    for members in ((16, 1), (-1, 17), (0, 16), (15,)):
        with pytest.raises(InputError):
            CpuPlan.of(form, members=members)
    arguments = (form.values, form.indices, None, form.dictionary, None)
    layouts = ((1, 1, True, False, 16), (0, 2, True, False, 16), (0, 1, True, False, 15), (0, 1, True, True, 16))
    for layout in layouts:
        with pytest.raises(InputError):
            CpuPlan(*arguments, *layout)
    with pytest.raises(InputError):
        CpuPlan(form.values, form.indices, None, None, None, 0, 1, True, False, 16)
    with pytest.raises(InputError):
        CpuPlan(form.values[:, :0], form.indices[:, :0], None, None, None, 0, 1, False, False, 16, in_features=12)


def test_plans_are_not_copied():
    plan = CpuPlan.of(small_form())
    for act in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="CpuPlan"):
            act(plan)


def test_instruction_sets(isa: str):
    assert describe() == isa
    with pytest.raises(InputError, match="sse"):
        set_isa("sse")
    assert describe() == isa


def test_without_a_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "broken.so").write_bytes(b"not a library")
    monkeypatch.setenv("DSFORMER_CPU_LIBRARY", str(tmp_path / "broken.so"))
    forget_library()
    try:
        with pytest.warns(UserWarning, match="broken"):
            assert not available()
        assert describe().startswith("reference")
        with pytest.raises(InputError, match="not found"):
            CpuPlan.of(small_form())
    finally:
        monkeypatch.undo()
        forget_library()
