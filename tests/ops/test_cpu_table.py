"""Embeddings read by the native kernels against the reference, for every instruction set this machine can run."""

from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from dsformer.errors import InputError
from dsformer.format.form import Form
from dsformer.format.pattern import Pattern
from dsformer.format.quantized import quantize_form
from dsformer.format.spec import FormSpec
from dsformer.format.support_codec import pack_support
from dsformer.ops.cpu import CpuTable
from fixtures.forms import random_form
from fixtures.native import isa as isa
from fixtures.native import native_library as native_library
from fixtures.typechecking import unchecked

pytestmark = pytest.mark.usefixtures("native_library")
DTYPES = (torch.float32, torch.bfloat16, torch.int8)


@st.composite
def specs(draw: st.DrawFn) -> FormSpec:
    pattern = draw(st.sampled_from([Pattern(), Pattern(), Pattern(group=4), Pattern(n=2, m=4), Pattern(n=1, m=8)]))
    units, width = pattern.group * draw(st.integers(1, 40)), draw(st.integers(1, 150))
    permuted = draw(st.booleans())
    if pattern.m:
        core, sets = draw(st.integers(0, 5)), draw(st.integers(1, 20))
        atoms, nonzeros = core + sets * pattern.m, sets * pattern.n
        return FormSpec("input", units, width, atoms, core, nonzeros, False, pattern, permuted)
    atoms = draw(st.integers(0, 150))
    canonical = atoms == 0 or draw(st.booleans())
    core = draw(st.sampled_from((0, 0, atoms, atoms // 3)))
    candidates = atoms - core + (width if canonical else 0)
    nonzeros = draw(st.one_of(st.integers(0, candidates), st.integers(0, min(candidates, 6))))
    return FormSpec("input", units, width, atoms, core, nonzeros, canonical, pattern, permuted)


def table_of(form: Form, dtype: torch.dtype) -> tuple[CpuTable, Tensor]:
    """A table of these numbers in this type, and the rows it stands for."""
    spec, code_of, scales = form.spec, None, None
    if form.permutation is not None:
        code_of = form.permutation.argsort()
    support = pack_support(spec, form.indices) if spec.encoding != "none" else None
    values, dictionary = form.values.to(dtype), form.dictionary.to(dtype)
    if dtype == torch.int8:
        rounded = quantize_form(form)
        values, dictionary, form = rounded.values, rounded.dictionary, rounded.form()
        of_atoms, of_units = rounded.dictionary_scales, rounded.value_scales
        scales = (of_atoms.view(torch.int16) if spec.atoms else None, of_units.view(torch.int16))
    else:
        form = Form(spec, dictionary.float(), values.float(), form.indices, form.permutation)
    return CpuTable(spec, values, dictionary if spec.atoms else None, support, code_of, scales), form.dense()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(spec=specs(), dtype=st.sampled_from(DTYPES), count=st.sampled_from((0, 1, 7, 200)), seed=st.integers(0, 9))
def test_as_the_reference(isa: str, spec: FormSpec, dtype: torch.dtype, count: int, seed: int):
    table, weight = table_of(random_form(spec, seed), dtype)
    ids = torch.randint(0, spec.units, (count,), generator=torch.Generator().manual_seed(seed))
    rows = table(ids)
    assert rows.dtype == (torch.bfloat16 if dtype == torch.bfloat16 else torch.float32)
    far = {"rtol": 8e-3, "atol": 1e-3} if dtype == torch.bfloat16 else {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(rows.float(), weight[ids], **far)


def test_shapes_and_types_of_ids():
    table, weight = table_of(random_form(FormSpec("input", 20, 12, 8, 2, 3)), torch.float32)
    for ids in (torch.tensor(3), torch.tensor([[1, 2], [19, 0]]).t(), torch.tensor([4, 4], dtype=torch.int32)):
        torch.testing.assert_close(table(ids), weight[ids.long()])
    for ids in (torch.tensor([0, 20]), torch.tensor(-1)):
        with pytest.raises(IndexError, match="0 to 19"):
            table(ids)


@pytest.mark.parametrize("count", [1, 3000])
def test_threads_share_the_rows(count: int):
    table, weight = table_of(random_form(FormSpec("input", 500, 96, 64, 4, 30)), torch.float32)
    ids, threads = torch.randint(0, 500, (count,)), torch.get_num_threads()
    try:
        for number in (1, 2, 4):
            torch.set_num_threads(number)
            torch.testing.assert_close(table(ids), weight[ids], rtol=1e-5, atol=1e-5)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("spec", [FormSpec("input", 20, 30, 70, 0, n) for n in (2, 40)], ids=["fields", "mask"])
def test_damaged_supports_are_read_within_bounds(isa: str, spec: FormSpec):
    form = random_form(spec)
    for byte in (0, 255):
        support = torch.full((spec.support_bytes,), byte, dtype=torch.uint8)
        rows = CpuTable(spec, form.values, form.dictionary, support)(torch.arange(20))
        # Whichever atoms it takes, they are mixed with the values of the row. (NaN is not below anything.)
        assert (rows.abs().amax(1) <= form.values.abs().sum(1) * form.dictionary.abs().max() * 1.001).all()


def test_what_does_not_fit_is_refused():
    spec = FormSpec("input", 20, 12, 8, 2, 3)
    form = random_form(spec)
    support = pack_support(spec, form.indices)
    CpuTable(spec, form.values, form.dictionary, support)
    wrong = [
        (spec, form.values[:-1], form.dictionary, support),
        (spec, form.values, form.dictionary.t().contiguous().t(), support),
        (spec, form.values, form.dictionary.bfloat16(), support),
        (spec, form.values, None, support),
        (spec, form.values, form.dictionary, None),
        (spec, form.values, form.dictionary, support[:-1]),
        (spec, form.values.double(), form.dictionary.double(), support),
        (replace(spec, orientation="output", out_features=12, in_features=20), form.values, form.dictionary, support),
    ]
    for arguments in wrong:
        with unchecked(), pytest.raises(InputError, match="native table"):
            CpuTable(*arguments)
    with unchecked(), pytest.raises(InputError, match="native table"):
        CpuTable(spec, form.values, form.dictionary, support, torch.arange(19))
