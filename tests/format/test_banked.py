"""Banked supports as bytes, and what of them is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dsformer.errors import ArtefactError, InputError
from dsformer.format.form import Form
from dsformer.format.indices import sort_entries
from dsformer.format.pattern import Pattern
from dsformer.format.ragged import pack_ragged_support, pad_ragged, unpack_ragged_support
from dsformer.format.schema import BlockConfig, parse_blocks
from dsformer.format.spec import FormSpec
from dsformer_runtime.artefact.banked import Banks, pack_banked, rank_bits, unpack_banked
from fixtures.forms import all_specs, banked_spec, label, random_form

SIZES = st.lists(st.integers(1, 90), min_size=1, max_size=3).map(tuple)


def random_mask(banks: Banks, seed: int) -> np.ndarray:
    """A mask with random counts in all tiles and banks."""
    rng = np.random.default_rng(seed)
    counts = 4 * rng.integers(0, banks.banks // 4 + 1, (len(banks.tiles), len(banks.banks)))
    scores = banks.in_banks(rng.random((banks.tiles.sum(), banks.banks.sum())), -1.0)
    mask = np.zeros(scores.shape, dtype=bool)
    each = np.repeat(counts, banks.tiles, axis=0)
    np.put_along_axis(mask, np.argsort(-scores, axis=2), np.arange(banks.bank) < each[:, :, None], 2)
    return banks.from_banks(mask)


@given(rows=SIZES, columns=SIZES, bank=st.sampled_from([4, 8, 20, 32, 64]), seed=st.integers(0, 99), data=st.data())
@settings(max_examples=100, deadline=None)
def test_what_is_unpacked_packs_to_the_same_bytes(rows, columns, bank: int, seed: int, data: st.DataObject):
    banks = Banks(rows, columns, bank)
    mask = random_mask(banks, seed)
    packed = pack_banked(banks, mask)
    assert len(packed) == (banks.total_bits(banks.counts(mask)) + 7) // 8
    assert np.array_equal(unpack_banked(banks, packed), mask)
    if len(packed):
        packed[data.draw(st.integers(0, len(packed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        try:
            other = unpack_banked(banks, packed)
        except ValueError:
            return
        assert np.array_equal(pack_banked(banks, other), packed)


def test_bytes_are_counts_then_ranks_from_the_least_significant_bit_on():
    """The only bank has 8 columns: two bits of count. Four of them: seven bits of rank."""
    banks = Banks((2,), (8,), 8)
    assert rank_bits(8, 4) == 7
    mask = np.array([[1, 1, 1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 1, 1, 1, 1]], dtype=bool)
    # Columns 0 to 3 have rank 0, columns 4 to 7 the last of the 70.
    stream = 1 | 0 << 2 | 69 << 9
    assert pack_banked(banks, mask).tolist() == [stream & 255, stream >> 8]


def test_tiles_and_banks_do_not_straddle_sections():
    banks = Banks((20, 16), (70, 10), 64)
    assert banks.tiles.tolist() == [16, 4, 16]
    assert banks.banks.tolist() == [64, 6, 10]
    assert banks.count_bits.tolist() == [5, 1, 2]


@pytest.mark.parametrize(
    "rows", [[[1, 1, 1, 1, 0, 0], [1, 1, 1, 0, 0, 0]], [[1, 1, 0, 0, 0, 0]] * 2, [[1, 1, 1, 1, 1, 1]] * 2]
)
def test_rows_that_are_not_banked_are_refused(rows: list[list[int]]):
    with pytest.raises(ValueError, match="not a multiple of 4 of every bank, the same in all rows"):
        pack_banked(Banks((2,), (6,), 64), np.array(rows, dtype=bool))


@pytest.mark.parametrize(
    ("stream", "size", "message"),
    [
        (3, 1, "more columns selected than a bank has"),
        (1 | 70 << 2, 2, "a rank is out of range"),
        (1 | 127 << 9, 2, "a rank is out of range"),
        (0, 2, "not as long"),
        (4, 1, "bits are set beyond its end"),
        (0, 0, "too short"),
    ],
)
def test_damaged_bytes_are_refused(stream: int, size: int, message: str):
    packed = np.frombuffer(stream.to_bytes(size, "little"), dtype=np.uint8)
    with pytest.raises(ValueError, match=message):
        unpack_banked(Banks((2,), (8,), 8), packed)


def test_supports_take_fewer_bits_than_a_mask():
    banks = Banks((3072,), (232, 768))
    mask = random_mask(banks, 0)
    packed = pack_banked(banks, mask)
    assert len(packed) < 0.75 * mask.size / 8
    assert np.array_equal(unpack_banked(banks, packed), mask)


SPECS = [spec for spec in all_specs(40, 72) if spec.pattern.bank]


@pytest.mark.parametrize("spec", SPECS, ids=label)
def test_a_form_comes_back(spec: FormSpec):
    form = random_form(spec)
    assert form.cells is not None
    packed = pack_ragged_support(spec, form.indices, form.cells)
    assert packed.numel() == spec.support_bytes
    indices, slots = unpack_ragged_support(spec, packed)
    assert torch.equal(indices, form.indices)
    assert torch.equal(pad_ragged(spec, form.values[form.cells], slots), form.values)
    with pytest.raises(ArtefactError, match="not a multiple of 4"):
        pack_ragged_support(spec, form.indices, form.cells & (torch.rand(form.cells.shape) < 0.5))
    with pytest.raises(ArtefactError, match="support"):
        unpack_ragged_support(replace(spec, ragged=((spec.units, spec.code_count - 1),)), packed)


BLANK = FormSpec("input", 56, 40, atoms=12, canonical=True)
STACK = banked_spec(BLANK, 32, (24, 32))
MEMBERS = [("a", 24), ("b", 32)]


def test_entries_are_counted_by_layer():
    form = random_form(STACK)
    wide = replace(
        STACK, nonzeros=STACK.candidates, ragged=((56, STACK.code_count),), support_bits=(STACK.support_bits[0],)
    )
    every = torch.arange(STACK.candidates).expand(56, -1).contiguous()
    mask = torch.zeros(every.shape, dtype=torch.bool).scatter(1, form.indices, form.cells)
    counted = sort_entries(Form(wide, form.dictionary, form.codes(), every, None, mask), [24, 32])
    assert counted.spec == STACK
    assert torch.equal(counted.indices, form.indices)
    assert torch.equal(counted.dense(), form.dense())
    assert [part.spec for part in counted.split([24, 32])] == STACK.split([24, 32])
    assert Form.joined(counted.split([24, 32])).spec == STACK


def test_zeros_of_the_support_are_stored():
    """A code that is zero, as quantization makes some, stays one of its bank."""
    spec = banked_spec(BLANK, 64)
    form = random_form(spec)
    zero = replace(form, values=torch.zeros_like(form.values))
    assert sort_entries(zero, [56]).spec == spec


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"support_bits": []}, "not the bits of the support of every ragged layer"),
        ({"support_bits": [100]}, "support_bits: not a number for every layer"),
        ({"support_bits": [1, 800]}, "1 bits are not a support of 24 units"),
        ({"support_bits": [10**9, 800]}, "bits are not a support of 24 units"),
        ({"entries": [], "support_bits": []}, "not the bits of the support"),
        ({"pattern": "free"}, "not the bits of the support"),
        ({"pattern": "banked(63)"}, "banked.b. with b a multiple of 4 up to 64"),
        ({"permuted": True}, "support_bits"),
        ({"core": 2}, "ragged codes"),
    ],
)
def test_nonsense_is_refused_in_one_line(change: dict, message: str):
    described = BlockConfig.of("linear", MEMBERS, STACK).model_dump(mode="json")
    assert parse_blocks([described])[0].spec() == STACK
    with pytest.raises(ArtefactError, match=message):
        parse_blocks([described | change])


def test_a_pattern_of_banks_needs_entries():
    with pytest.raises(InputError, match="not the bits of the support"):
        FormSpec("input", 16, 16, atoms=8, nonzeros=4, pattern=Pattern.parse("banked(64)"))
    assert str(Pattern.parse("banked(32)")) == "banked(32)"
