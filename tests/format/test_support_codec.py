import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dsformer.errors import ArtefactError
from dsformer.format.pattern import Pattern
from dsformer.format.spec import FormSpec
from dsformer.format.support_codec import (
    check_permutation,
    pack_permutation,
    pack_support,
    unpack_permutation,
    unpack_support,
)
from fixtures.forms import all_specs, label, random_form
from fixtures.typechecking import unchecked


@st.composite
def specs(draw) -> FormSpec:
    kind = draw(st.sampled_from(["free", "grouped", "n:m"]))
    core, canonical = draw(st.integers(0, 5)), draw(st.booleans())
    group = draw(st.integers(2, 9)) if kind == "grouped" else 1
    units = draw(st.integers(1, 20)) * group
    orientation = draw(st.sampled_from(["input", "output"]))
    other = draw(st.integers(1, 40))
    size = (units, other) if orientation == "input" else (other, units)
    if kind == "n:m":
        m = draw(st.integers(2, 20))
        n, sets = draw(st.integers(1, m - 1)), draw(st.integers(1, 9))
        pattern = Pattern(n=n, m=m)
        return FormSpec(orientation, *size, atoms=core + sets * m, core=core, nonzeros=sets * n, pattern=pattern)
    free = draw(st.integers(0, 300))
    candidates = free + (other if canonical else 0)
    nonzeros = draw(st.integers(0, candidates))
    return FormSpec(
        orientation, *size, atoms=core + free, core=core, nonzeros=nonzeros, canonical=canonical, pattern=Pattern(group)
    )


@given(specs(), st.integers(0, 2**31))
@settings(max_examples=200, deadline=None)
def test_round_trip(spec: FormSpec, seed: int):
    indices = random_form(spec, seed).indices
    packed = pack_support(spec, indices)
    assert packed.dtype == torch.uint8
    assert packed.shape == (spec.support_bytes,)
    assert torch.equal(unpack_support(spec, packed).long(), indices)


@given(specs(), st.integers(0, 2**31), st.data())
@settings(max_examples=200, deadline=None)
def test_what_is_unpacked_packs_to_the_same_bytes(spec: FormSpec, seed: int, data: st.DataObject):
    """Whatever the bytes are: they are either refused, or the one way to write this support."""
    packed = pack_support(spec, random_form(spec, seed).indices)
    if packed.numel():
        packed[data.draw(st.integers(0, packed.numel() - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        indices = unpack_support(spec, packed)
    except ArtefactError:
        return
    assert torch.equal(pack_support(spec, indices), packed)


@pytest.mark.parametrize(
    "spec", [spec for spec in all_specs() if spec.encoding == "mask" and not spec.ragged], ids=label
)
def test_every_wrong_bit_of_a_mask_is_noticed(spec: FormSpec):
    """Positions have no such redundancy: some of theirs are other supports."""
    packed = pack_support(spec, random_form(spec).indices)
    for bit in range(8 * packed.numel()):
        damaged = packed.clone()
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ArtefactError):
            unpack_support(spec, damaged)


def test_mask_is_least_significant_bit_first():
    spec = FormSpec("input", 2, 9, atoms=9, nonzeros=4)
    assert spec.encoding == "mask"
    packed = pack_support(spec, torch.tensor([[0, 1, 7, 8], [0, 2, 3, 4]]))
    assert packed.tolist() == [0b10000011, 0b00111011, 0b0]


def test_strided_groups_hold_neighbours_of_a_stride():
    spec = FormSpec("input", 1, 16, atoms=16, nonzeros=2, pattern=Pattern(n=1, m=8))
    assert spec.encoding == "index"
    # Two sets: even atoms and odd ones. Atom 6 is number 3 of the first, atom 9 number 4 of the second.
    packed = pack_support(spec, torch.tensor([[6, 9]]))
    assert packed.tolist() == [3 | 4 << 3]


WRONG_INDICES = {
    "too few": [[0, 1], [0, 1]],
    "too many groups": [[0, 1, 2]] * 3,
    "out of range": [[0, 1, 9], [0, 1, 2]],
    "negative": [[-1, 1, 2], [0, 1, 2]],
    "out of order": [[1, 0, 2], [0, 1, 2]],
    "twice the same": [[1, 1, 2], [0, 1, 2]],
}


@pytest.mark.parametrize("rows", WRONG_INDICES.values(), ids=WRONG_INDICES)
def test_wrong_indices_are_refused(rows: list[list[int]]):
    with pytest.raises(ArtefactError, match="support"):
        pack_support(FormSpec("input", 2, 9, atoms=9, nonzeros=3), torch.tensor(rows))


def test_indices_must_follow_the_pattern():
    spec = FormSpec("input", 1, 8, atoms=8, nonzeros=4, pattern=Pattern(n=2, m=4))
    with pytest.raises(ArtefactError, match="2 of every 4"):
        pack_support(spec, torch.tensor([[0, 2, 4, 1]]).sort().values)


@pytest.mark.parametrize("packed", [None, torch.zeros(2, dtype=torch.uint8), torch.zeros(3)])
def test_bytes_of_the_wrong_length_or_type_are_refused(packed):
    with unchecked(), pytest.raises(ArtefactError, match="not 3 bytes of uint8"):
        unpack_support(FormSpec("input", 2, 9, atoms=9, nonzeros=4), packed)


@pytest.mark.parametrize("units", [1, 12, 32767, 32768, 40000])
def test_permutation(units: int):
    for group in (1, 4):
        spec = FormSpec("input", 4 * units, 2, atoms=2, core=2, pattern=Pattern(group), permuted=True)
        shuffled = torch.randperm(4 * units, generator=torch.Generator().manual_seed(0))
        permutation = shuffled.view(-1, group).sort(1).values.view(-1)
        packed = pack_permutation(spec, permutation)
        assert packed.dtype == torch.uint8
        assert packed.numel() == spec.permutation_bytes
        check_permutation(spec, packed)
        assert torch.equal(unpack_permutation(spec, packed), permutation)


@pytest.mark.parametrize("permutation", [[0, 1], [0, 1, 1], [0, 1, 3], [-1, 0, 1], [[0, 1, 2]]])
def test_what_is_no_permutation_is_refused(permutation: list):
    spec = FormSpec("input", 3, 2, atoms=2, core=2, permuted=True)
    with unchecked(), pytest.raises(ArtefactError, match="not a permutation of 3 units"):
        pack_permutation(spec, torch.tensor(permutation))


def test_groups_out_of_order_are_refused():
    spec = FormSpec("input", 4, 2, atoms=2, core=2, pattern=Pattern(2), permuted=True)
    with pytest.raises(ArtefactError, match="not ascending"):
        pack_permutation(spec, torch.tensor([1, 0, 2, 3]))


@pytest.mark.parametrize("packed", [[0b0000], [0b10110], [0b0110, 0], [0b1111]])
def test_damaged_groups_are_refused(packed: list):
    spec = FormSpec("input", 4, 2, atoms=2, core=2, pattern=Pattern(2), permuted=True)
    assert spec.permutation_bytes == 1
    check_permutation(spec, torch.tensor([0b0110], dtype=torch.uint8))
    with pytest.raises(ArtefactError, match="permutation"):
        check_permutation(spec, torch.tensor(packed, dtype=torch.uint8))


def test_many_groups_are_packed_in_parts(monkeypatch: pytest.MonkeyPatch):
    spec = FormSpec("input", 1000, 30, atoms=30, nonzeros=11)
    indices = random_form(spec).indices
    whole = pack_support(spec, indices)
    monkeypatch.setattr("dsformer.format.support_codec._CHUNK_BITS", 1000)
    assert torch.equal(pack_support(spec, indices), whole)
    assert torch.equal(unpack_support(spec, whole).long(), indices)


def test_a_large_block():
    spec = FormSpec("input", 3072, 768, atoms=320, nonzeros=150)
    indices = random_form(spec).indices
    assert torch.equal(unpack_support(spec, pack_support(spec, indices)).long(), indices)
    assert math.ceil(spec.groups * spec.candidates / 8) == spec.support_bytes
