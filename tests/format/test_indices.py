"""Supports of which every unit has as many entries as suit it."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dsformer.errors import InputError
from dsformer.factorization.dense_sparse import Effort, fit
from dsformer.factorization.metric import Metric
from dsformer.factorization.support import choose_ragged_support
from dsformer.factorization.target import Target
from dsformer.format.form import Form
from dsformer.format.indices import fill_support, sort_entries
from dsformer.format.precision import INT8, Precision
from dsformer.format.spec import FormSpec
from fixtures.forms import random_form

EVEN = FormSpec("input", 24, 16, atoms=6, nonzeros=5, canonical=True)
RAGGED = replace(EVEN, nonzeros=9, ragged=((8, 50), (16, 70)))


@given(seed=st.integers(0, 999), cap=st.integers(2, 12))
@settings(max_examples=50, deadline=None)
def test_the_largest_of_every_layer_stay(seed: int, cap: int):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(24, 22, generator=generator)
    spec = replace(RAGGED, nonzeros=cap, ragged=((8, 7 * cap), (16, 3 * cap)))
    mask = choose_ragged_support(spec, scores)
    assert int(mask.sum(1).max()) <= cap
    for rows, entries in ((slice(0, 8), 7 * cap), (slice(8, 24), 3 * cap)):
        kept, own = mask[rows], scores[rows]
        assert int(kept.sum()) == entries
        # Nothing left out could take the place of something smaller.
        open_rows = kept.sum(1) < cap
        if open_rows.any() and not kept.all():
            assert own[open_rows][~kept[open_rows]].max() <= own[kept].min()
        for row in range(len(own)):
            if kept[row].any() and not kept[row].all():
                assert own[row][~kept[row]].max() <= own[row][kept[row]].min() or open_rows[row]


def test_rows_are_filled_up():
    mask = torch.tensor([[0, 1, 0, 1], [1, 1, 1, 0], [0, 0, 0, 0]]).bool()
    assert fill_support(mask, 3).tolist() == [[0, 1, 3], [0, 1, 2], [0, 1, 2]]
    with pytest.raises(InputError, match="a row has more than 2"):
        fill_support(mask, 2)


def test_bytes_are_those_of_the_even_form():
    ragged = EVEN.with_ragged_rows()
    assert (ragged.code_count, ragged.value_count) == (EVEN.code_count, EVEN.value_count)
    assert (ragged.support_bytes, ragged.encoding) == (EVEN.support_bytes, "mask")
    for precision in (Precision.of(32), INT8, Precision(4, 4)):
        assert ragged.stored_bits(precision) <= EVEN.stored_bits(precision)
    assert RAGGED.support_bytes == (8 * 22 + 7) // 8 + (16 * 22 + 7) // 8
    assert RAGGED.code_bytes(Precision(4, 4)) == 25 + 35


@pytest.mark.parametrize(
    "spec",
    [
        FormSpec("input", 24, 16, atoms=6, core=6),
        FormSpec("input", 24, 16, atoms=6, core=2, nonzeros=3, canonical=True),
        FormSpec("input", 24, 1600, atoms=0, nonzeros=3, canonical=True),
        FormSpec("input", 24, 16, atoms=0, nonzeros=16, canonical=True),
    ],
)
def test_forms_that_stay_as_they_are(spec: FormSpec):
    assert spec.with_ragged_rows() is spec


@pytest.mark.parametrize(
    "changes",
    [
        {"ragged": ((8, 50), (8, 70))},
        {"ragged": ((8, 80), (16, 40))},
        {"ragged": ((8, 0), (16, 40))},
        {"core": 1},
    ],
)
def test_impossible_ones_are_refused(changes: dict):
    with pytest.raises(InputError, match="ragged codes"):
        replace(RAGGED, **changes)


def test_layers_are_taken_apart_and_joined():
    form = random_form(RAGGED)
    parts = form.split((8, 16))
    assert [part.spec.ragged for part in parts] == [((8, 50),), ((16, 70),)]
    again = Form.joined(parts)
    assert again.spec == form.spec
    assert torch.equal(again.dense(), form.dense())
    assert [spec.ragged for spec in RAGGED.split((24,))] == [RAGGED.ragged]
    with pytest.raises(InputError, match="cannot be taken apart"):
        RAGGED.split((12, 12))


def test_settled_forms_say_what_each_layer_has():
    whole = replace(RAGGED, nonzeros=22, ragged=((24, 120),))
    form = random_form(whole)
    found = sort_entries(form, (8, 16))
    assert torch.equal(found.dense(), form.dense())
    counts = (form.values != 0).sum(1)
    assert found.spec.nonzeros == int(counts.max()) == found.values.shape[1]
    assert found.spec.ragged == ((8, int(counts[:8].sum())), (16, int(counts[8:].sum())))


def test_more_and_fewer():
    assert RAGGED.with_entries(0.5).ragged == ((8, 25), (16, 35))
    assert RAGGED.with_entries(100).ragged == ((8, 8 * 22), (16, 16 * 22))
    assert EVEN.with_entries(2).nonzeros == 10


# Where outputs have no metric, the sizes of rows say nothing of what matters.
@pytest.mark.parametrize("curved", [False, True])
@pytest.mark.parametrize(
    "fields", [{"atoms": 6, "nonzeros": 9, "canonical": True}, {"nonzeros": 10, "canonical": True}]
)
def test_fits_are_better_than_even_ones(fields: dict, curved: bool):
    generator = torch.Generator().manual_seed(0)
    # Rows of very different sizes: the small ones need no entries.
    matrix = torch.randn(48, 32, generator=generator) * torch.logspace(0, -2, 48)[:, None]
    inputs = torch.randn(100, 32, generator=generator)
    output = Metric.from_gram(torch.eye(48)) if curved else None
    weight = Target(matrix, Metric.from_gram(inputs.T @ inputs, output=output), (16, 32))
    spec = FormSpec("input", 48, 32, **{"atoms": 0, **fields})
    even = fit(weight.input, spec, 30)[1]
    form, error = weight.fit(spec, effort=Effort(iterations=30))
    if not curved:
        assert form.spec == spec
        assert error <= 1.001 * even
        return
    assert error < 0.8 * even
    assert error == pytest.approx(weight.error(form), rel=1e-3)
    assert form.spec.ragged[0][1] > form.spec.ragged[1][1]
    assert form.spec.code_count == spec.code_count
