"""Ragged codes as they are stored."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dsformer.errors import ArtefactError, InputError
from dsformer.format.form import Form
from dsformer.format.precision import Precision
from dsformer.format.quantized import quantize_form
from dsformer.format.ragged import pack_ragged_support, pad_ragged, stored_entries, unpack_ragged_support
from dsformer.format.schema import BlockConfig, parse_blocks
from dsformer.format.spec import FormSpec
from dsformer.nn.replace import install, install_forms, read_forms
from fixtures.forms import all_specs, label, random_form

SPECS = [spec for spec in all_specs() if spec.ragged and not spec.pattern.bank]


@given(spec=st.sampled_from(SPECS), seed=st.integers(0, 99), data=st.data())
@settings(max_examples=200, deadline=None)
def test_what_is_unpacked_packs_to_the_same_bytes(spec: FormSpec, seed: int, data: st.DataObject):
    form = random_form(spec, seed)
    cells = stored_entries(spec, form.values)
    packed = pack_ragged_support(spec, form.indices, cells)
    assert packed.numel() == spec.support_bytes
    indices, slots = unpack_ragged_support(spec, packed)
    assert torch.equal(indices, form.indices)
    assert torch.equal(pad_ragged(spec, form.values[cells], slots), form.values)
    packed[data.draw(st.integers(0, packed.numel() - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(ArtefactError, match="support"):
        unpack_ragged_support(spec, packed)


def test_zeros_are_stored_up_to_the_number_there_is():
    spec = FormSpec("input", 2, 8, atoms=0, nonzeros=3, canonical=True, ragged=((2, 5),))
    values = torch.tensor([[1.0, 0.0, 2.0], [0.0, 3.0, 0.0]])
    assert stored_entries(spec, values).tolist() == [[True, True, True], [True, True, False]]
    with pytest.raises(InputError, match="6 values, where there is room for 5"):
        stored_entries(spec, torch.ones(2, 3))


@pytest.mark.parametrize("spec", SPECS, ids=label)
def test_a_unit_with_too_many_is_refused(spec: FormSpec):
    tight = replace(spec, nonzeros=-(-spec.code_count // spec.units))
    form = random_form(spec)
    if int((form.values != 0).sum(1).max()) > tight.nonzeros:
        packed = pack_ragged_support(spec, form.indices, stored_entries(spec, form.values))
        with pytest.raises(ArtefactError, match=f"at most {tight.nonzeros} in a row"):
            unpack_ragged_support(tight, packed)


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(16, 8), nn.Linear(16, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.a(x), self.b(x)], -1)


STACK = FormSpec("input", 24, 16, atoms=6, nonzeros=9, canonical=True, ragged=((8, 50), (16, 70)))
MEMBERS = [("a", 8), ("b", 16)]


@pytest.mark.parametrize("precision", [None, Precision(8, 8), Precision(4, 4), Precision(4, 8)], ids=str)
def test_stacked_layers_come_back(precision: Precision | None):
    form = random_form(STACK)
    whole = form if precision is None else quantize_form(form, precision)
    block = BlockConfig.of("linear", MEMBERS, STACK, precision=precision)
    assert block.entries == [50, 70]
    model = Pair().eval()
    biases = torch.cat([model.a.bias, model.b.bias]).detach()
    install_forms(model, [block], [whole])
    state = model.state_dict()
    stored = sum(state[f"{name}.weight"].numel() for name, _ in MEMBERS)
    assert stored == (STACK.code_count if precision is None else STACK.code_bytes(precision))
    assert sum(state[f"{name}.support"].numel() for name, _ in MEMBERS) == STACK.support_bytes
    again = Pair().eval()
    install(again, parse_blocks([block.model_dump(mode="json")]))
    again.load_state_dict(state)
    x = torch.randn(5, 16)
    with torch.no_grad():
        torch.testing.assert_close(again(x), model(x))
        if precision is None:
            torch.testing.assert_close(again(x), x @ form.dense().T + biases, rtol=1e-4, atol=1e-5)
    joined = Form.joined([read_forms(again)[name] for name, _ in MEMBERS])
    torch.testing.assert_close(joined.dense(), whole.dense())
    assert joined.spec == STACK


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"entries": [50]}, "entries: not a number for every linear layer"),
        ({"entries": [50, 1000]}, "more entries than 9 for every unit"),
        ({"entries": [0, 70]}, "ragged codes"),
        ({"core": 2}, "ragged codes"),
    ],
)
def test_nonsense_is_refused_in_one_line(change: dict, message: str):
    described = BlockConfig.of("linear", MEMBERS, STACK).model_dump(mode="json") | change
    with pytest.raises(ArtefactError, match=message):
        parse_blocks([described])
