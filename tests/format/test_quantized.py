import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dsformer.format.pattern import Pattern
from dsformer.format.precision import INT8
from dsformer.format.quantized import LARGEST, QuantizedForm, positions, quantize_form
from dsformer.format.spec import FormSpec
from fixtures.forms import all_specs, label, random_form


@pytest.mark.parametrize("spec", all_specs(48, 40), ids=label)
def test_stands_for_nearly_the_same_weight(spec: FormSpec):
    form = random_form(spec)
    rounded = quantize_form(form)
    assert rounded.values.dtype == rounded.dictionary.dtype == torch.int8
    assert rounded.value_scales.shape == (spec.code_scales(INT8),)
    assert rounded.dictionary_scales.shape == (spec.dictionary_scales(INT8),)
    assert torch.equal(rounded.form().indices, form.indices)
    assert (rounded.form().dense() - form.dense()).norm() < 0.015 * form.dense().norm()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 99), spec=st.sampled_from(all_specs()), size=st.sampled_from([1e-20, 1e-3, 1.0, 1e6]))
def test_every_number_is_to_nearest(seed: int, spec: FormSpec, size: float):
    form = random_form(spec, seed)
    form.values.mul_(size)
    form.dictionary[..., :1] *= 7
    rounded = quantize_form(form)
    # Rounded a second time nothing changes: every number is one of the 255 of its row.
    again = quantize_form(rounded.form())
    torch.testing.assert_close(again.form().dense(), rounded.form().dense(), rtol=0.02, atol=0.03 * size)
    scales = rounded.spread_scales()
    assert (rounded.values.abs() <= LARGEST).all()
    assert ((rounded.values.float() * scales).abs() <= LARGEST * scales.abs()).all()


def test_a_row_uses_the_whole_range():
    form = random_form(FormSpec("input", 16, 12, atoms=0, nonzeros=5, canonical=True))
    rounded = quantize_form(form)
    assert (rounded.values.abs().amax(1).float() >= LARGEST - 1).all()
    worst = (rounded.form().values - form.values).abs() / rounded.value_scales.float()[:, None]
    assert worst.max() <= 1.01 / 2 + 0.5  # half a step, and half of one more where the largest was clamped


def test_the_length_of_atoms_does_not_matter():
    spec = FormSpec("input", 16, 12, atoms=8, nonzeros=5)
    form = random_form(spec)
    factors = torch.logspace(-3, 3, 8)
    used = form.indices.repeat_interleave(spec.pattern.group, 0)
    longer = type(form)(spec, form.dictionary * factors[:, None], form.values / factors[used], form.indices)
    torch.testing.assert_close(
        quantize_form(longer).form().dense(), quantize_form(form).form().dense(), rtol=0, atol=0.02
    )


def test_zeros_stay_zeros():
    form = random_form(FormSpec("input", 16, 12, atoms=8, nonzeros=5, canonical=True))
    form.values.zero_()
    form.dictionary[3] = 0
    rounded = quantize_form(form).form()
    assert not rounded.dense().any()
    assert not rounded.dictionary[3].any()


@pytest.mark.parametrize("core", [0, 3])
def test_positions_are_columns_of_the_codes(core: int):
    spec = FormSpec("output", 12, 16, atoms=8, core=core, nonzeros=4, canonical=True, pattern=Pattern(group=4))
    form = random_form(spec)
    assert torch.equal(form.codes().gather(1, positions(spec, form.indices)), form.values)


def test_parts_of_a_block():
    members = (8, 16, 8)
    spec = FormSpec("input", 32, 12, atoms=6, nonzeros=4, canonical=True, pattern=Pattern(group=4), permuted=True)
    rounded = quantize_form(random_form(spec, members=members))
    parts = rounded.split(members)
    whole = torch.cat([part.form().dense() for part in parts])
    assert torch.equal(whole, rounded.form().dense())
    again = QuantizedForm.joined(parts)
    assert torch.equal(again.values, rounded.values)
    assert torch.equal(again.value_scales, rounded.value_scales)
    assert torch.equal(again.form().dense(), rounded.form().dense())


def test_scales_are_counted():
    spec = FormSpec("output", 12, 16, atoms=8, nonzeros=4, canonical=True)
    rounded = quantize_form(random_form(spec))
    scales = rounded.value_scales.nbytes + rounded.dictionary_scales.nbytes
    bits = 8 * (rounded.values.nbytes + rounded.dictionary.nbytes + scales + spec.support_bytes)
    assert spec.stored_bits(8) == bits
    assert spec.scale_bits(16) == 0
