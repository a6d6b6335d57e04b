import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dsformer.format.bitpacking import pack_integers, unpack_integers
from dsformer.format.precision import ROUNDED, packed_bytes


@given(bits=st.sampled_from(ROUNDED), rows=st.integers(0, 4), columns=st.integers(0, 11), seed=st.integers(0, 99))
def test_comes_back(bits: int, rows: int, columns: int, seed: int):
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1)
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.randint(low, high, (rows, columns), generator=generator, dtype=torch.int8)
    packed = pack_integers(numbers, bits)
    assert packed.dtype == torch.int8
    assert packed.shape == (rows, packed_bytes(columns, bits))
    assert torch.equal(unpack_integers(packed, columns, bits), numbers)


def test_the_first_number_has_the_lowest_bits():
    assert pack_integers(torch.tensor([[1, -1, 7]], dtype=torch.int8), 4).tolist() == [[0xF1 - 256, 0x07]]
    assert pack_integers(torch.tensor([[-4, 1, 3]], dtype=torch.int8), 3).tolist() == [[0b11001100 - 256, 0]]


@pytest.mark.parametrize("bits", [3, 4])
@pytest.mark.usefixtures("unchecked")
def test_can_be_compiled(bits: int):
    numbers = torch.randint(-4, 4, (3, 7), dtype=torch.int8)
    packed = pack_integers(numbers, bits)
    torch._dynamo.reset()
    compiled = torch.compile(lambda stored: unpack_integers(stored, 7, bits), fullgraph=True)
    assert torch.equal(compiled(packed), numbers)
