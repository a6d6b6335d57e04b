import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dsformer.errors import InputError
from dsformer.format.form import Form
from dsformer.format.pattern import Pattern
from dsformer.format.spec import FormSpec
from fixtures.typechecking import unchecked


def random_form(spec: FormSpec) -> Form:
    generator = torch.Generator().manual_seed(0)
    shape = (spec.atoms, spec.width) if spec.orientation == "input" else (spec.width, spec.atoms)
    indices = torch.stack(
        [
            torch.randperm(spec.candidates, generator=generator)[: spec.nonzeros].sort().values
            for _ in range(spec.groups)
        ]
    )
    permutation = None
    if spec.permuted:
        shuffled = torch.randperm(spec.units, generator=generator)
        permutation = shuffled.view(-1, spec.pattern.group).sort(1).values.view(-1)
    values = torch.randn(spec.units, spec.core + spec.nonzeros, generator=generator)
    return Form(spec, torch.randn(shape, generator=generator), values, indices, permutation)


@given(
    st.sampled_from(["input", "output"]),
    st.integers(0, 9),
    st.booleans(),
    st.sampled_from([1, 2]),
    st.data(),
)
@settings(max_examples=60)
def test_dense_is_codes_times_atoms(orientation, atoms, canonical, group, data):
    core = data.draw(st.integers(0, atoms))
    width = {"input": 7, "output": 12}[orientation]
    candidates = atoms - core + (width if canonical else 0)
    spec = FormSpec(
        orientation, 12, 7 if orientation == "input" else 8, atoms, core, data.draw(st.integers(0, candidates)),
        canonical, Pattern(group=group), permuted=group > 1,
    )  # fmt: skip
    form = random_form(spec)
    expected = torch.zeros(spec.units, spec.width)
    atom_rows = form.dictionary if orientation == "input" else form.dictionary.T
    table = torch.cat([atom_rows, torch.eye(spec.width)])
    for unit in range(spec.units):
        place = unit if form.permutation is None else int(form.permutation[unit])
        for k in range(core):
            expected[place] += form.values[unit, k] * table[k]
        for k, position in enumerate(form.indices[unit // group]):
            at = core + int(position)
            expected[place] += form.values[unit, core + k] * table[at]
    dense = form.dense() if orientation == "input" else form.dense().T
    torch.testing.assert_close(dense, expected, atol=1e-5, rtol=1e-5)


def test_bits_of_the_known_encodings():
    free = FormSpec("input", 1152, 384, atoms=214, nonzeros=52)
    assert free.encoding == "mask"
    assert free.stored_bits(16) == (214 * 384 + 1152 * 52) * 16 + 1152 * 214
    sparse = FormSpec("input", 1152, 384, atoms=214, nonzeros=3)
    assert sparse.encoding == "index"
    assert sparse.support_bytes == math.ceil(1152 * 3 * 8 / 8)
    strided = FormSpec("input", 1152, 384, atoms=160, nonzeros=40, pattern=Pattern.parse("1:4"))
    assert strided.support_bytes == 1152 * 40 * 2 // 8
    grouped = FormSpec("input", 1152, 384, 160, nonzeros=80, pattern=Pattern(8), permuted=True)
    assert (grouped.support_bytes, grouped.permutation_bytes) == (1152 // 8 * 160 // 8, 1152)
    assert FormSpec("input", 8, 8, atoms=4, core=4).support_bytes == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"core": 5},
        {"nonzeros": 5},
        {"pattern": Pattern(group=5)},
        {"pattern": Pattern(n=2, m=4), "nonzeros": 3},
        {"pattern": Pattern(n=1, m=3), "nonzeros": 1},
        {"pattern": Pattern(n=2, m=4), "nonzeros": 2, "canonical": True},
    ],
)
def test_impossible_forms_are_refused(wrong):
    with pytest.raises(InputError):
        FormSpec(**{"orientation": "input", "out_features": 8, "in_features": 8, "atoms": 4, **wrong})


def test_an_unknown_orientation_is_refused():
    with unchecked(), pytest.raises(InputError, match="sideways"):
        FormSpec("sideways", 8, 8, 4)


def test_split_gives_each_layer_its_rows():
    spec = FormSpec("input", 16, 6, atoms=4, nonzeros=2, canonical=True, pattern=Pattern(group=2), permuted=True)
    generator = torch.Generator().manual_seed(1)
    form = random_form(spec)
    inside = torch.cat([torch.randperm(count, generator=generator) + start for start, count in ((0, 6), (6, 10))])
    form = Form(spec, form.dictionary, form.values, form.indices, inside)
    parts = form.split([6, 10])
    torch.testing.assert_close(torch.cat([part.dense() for part in parts]), form.dense())
    assert all(part.dictionary is form.dictionary for part in parts)
