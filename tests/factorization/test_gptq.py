"""Rounding with compensation."""

import itertools

import pytest
import torch
from torch import Tensor

from dsformer.factorization.gptq import quantize_gptq
from dsformer.format.form import Form
from dsformer.format.precision import FACTORS, INT8, Precision
from dsformer.format.quantized import QuantizedForm, quantize_form
from dsformer.format.spec import FormSpec
from fixtures.forms import all_specs, label, random_form

INPUTS = torch.randn(300, 20, generator=torch.Generator().manual_seed(3)) @ torch.randn(
    20, 20, generator=torch.Generator().manual_seed(4)
)
GRAM = INPUTS.T @ INPUTS / 300


def error(form: Form, weight: Tensor) -> float:
    left = form.dense() - weight
    return float((left @ GRAM * left).sum())


@pytest.mark.parametrize("precision", FACTORS.values(), ids=str)
@pytest.mark.parametrize("spec", all_specs(48, 20), ids=label)
def test_is_nearer_than_to_nearest(spec: FormSpec, precision: Precision):
    compensated = nearest = 0.0
    for seed in range(5):
        form = random_form(spec, seed)
        rounded = quantize_gptq(form, GRAM, precision)
        assert rounded.spec == spec
        assert torch.equal(rounded.indices, form.indices)
        assert rounded.precision == precision
        compensated += error(rounded.form(), form.dense())
        nearest += error(quantize_form(form, precision).form(), form.dense())
    assert compensated <= nearest


def full(weight: Tensor) -> Form:
    rows, columns = weight.shape
    spec = FormSpec("input", rows, columns, atoms=0, nonzeros=columns, canonical=True)
    return Form(spec, torch.empty(0, columns), weight, torch.arange(columns).expand(rows, columns).contiguous())


def test_a_dense_weight_is_rounded_as_gptq_does():
    weight = torch.randn(6, 20, generator=torch.Generator().manual_seed(0))
    rounded = quantize_gptq(full(weight), GRAM, Precision(4, 4))
    scales = rounded.value_scales.float()[:, None]
    # By the book: one column at a time, the largest of the Gram matrix first, the inverse of those left made anew.
    damped = (GRAM + 1e-2 * GRAM.diagonal().mean() * torch.eye(20)).double()
    left, expected = weight.double(), torch.zeros(6, 20)
    order = GRAM.diagonal().argsort(descending=True).tolist()
    for at, j in enumerate(order):
        expected[:, j] = (left[:, j] / scales[:, 0]).round().clamp(-8, 7)
        later = order[at:]
        inverse = torch.linalg.inv(damped[later][:, later])
        wrong = (left[:, j] - expected[:, j] * scales[:, 0]) / inverse[0, 0]
        left[:, later] -= wrong[:, None] * inverse[0]
    assert (rounded.values == expected).float().mean() > 0.98
    nearest = error(quantize_form(full(weight), Precision(4, 4)).form(), weight)
    assert error(rounded.form(), weight) < 0.7 * nearest


def test_is_near_to_the_best_there_is():
    """Against every rounding there is of small rows."""
    gram = GRAM[:5, :5]
    weight = torch.randn(40, 5, generator=torch.Generator().manual_seed(1))
    rounded = quantize_gptq(full(weight), gram, Precision(3, 3))
    every = torch.tensor(list(itertools.product(range(-4, 4), repeat=5)))

    def costs(rows: Tensor, unit: int) -> Tensor:
        left = rows * rounded.value_scales[unit].float() - weight[unit]
        return (left @ gram * left).sum(1)

    found = sum(costs(rounded.values[unit : unit + 1], unit) for unit in range(40))
    best = sum(costs(every, unit).min() for unit in range(40))
    scales = rounded.value_scales.float()[:, None]
    to_nearest = (weight / scales).round().clamp(-4, 3)
    nearest = sum(costs(to_nearest[unit : unit + 1], unit) for unit in range(40))
    assert best <= found < 0.95 * nearest
    assert found < 1.5 * best


def test_inputs_that_are_never_there_do_no_harm():
    gram = GRAM.clone()
    gram[3] = gram[:, 3] = 0
    form = random_form(FormSpec("input", 12, 20, atoms=6, nonzeros=5, canonical=True))

    def error(rounded: QuantizedForm) -> float:
        difference = rounded.dense() - form.dense()
        return float((difference @ gram * difference).sum())

    assert error(quantize_gptq(form, gram, INT8)) < error(quantize_form(form, INT8))


def test_scales_for_spans_of_a_row():
    form, precision = random_form(FormSpec("input", 12, 20, atoms=6, nonzeros=7, canonical=True)), Precision(4, 4, 4)
    form.dictionary[:, 3] *= 30
    rounded = quantize_gptq(form, GRAM, precision)
    assert rounded.value_scales.shape == (12 * 2,)
    assert rounded.dictionary_scales.shape == (6 * 5,)
    assert error(rounded.form(), form.dense()) < error(quantize_gptq(form, GRAM, Precision(4, 4)).form(), form.dense())
