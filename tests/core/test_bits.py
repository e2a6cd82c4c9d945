import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from laconic.core.bits import pack, packed_size, unpack

widths = st.integers(1, 8)


def packed_by_hand(codes: list[int], bits: int) -> list[int]:
    """One bit after the other, least significant first."""
    stream = [code >> i & 1 for code in codes for i in range(bits)]
    return np.packbits(np.array(stream, dtype=np.uint8), bitorder="little").tolist()


@given(bits=widths, data=st.data())
def test_unpack_undoes_pack(bits: int, data: st.DataObject) -> None:
    codes = torch.tensor(data.draw(st.lists(st.integers(0, 2**bits - 1), max_size=70)), dtype=torch.uint8)
    assert torch.equal(unpack(pack(codes, bits), bits, len(codes)), codes)


@given(bits=widths, data=st.data())
def test_the_stream_is_least_significant_bit_first_without_gaps(bits: int, data: st.DataObject) -> None:
    codes = data.draw(st.lists(st.integers(0, 2**bits - 1), max_size=70))
    packed = pack(torch.tensor(codes, dtype=torch.uint8), bits)
    assert packed.tolist() == packed_by_hand(codes, bits)
    assert packed.dtype == torch.uint8
    assert len(packed) == packed_size(len(codes), bits)


def test_four_bit_codes_lie_two_to_a_byte_the_first_low() -> None:
    assert pack(torch.tensor([1, 2, 15], dtype=torch.uint8), 4).tolist() == [0x21, 0x0F]


def test_codes_of_any_shape_are_taken_in_row_major_order() -> None:
    codes = torch.arange(12, dtype=torch.uint8).view(3, 4)
    assert torch.equal(pack(codes.T, 5), pack(codes.T.flatten(), 5))


@pytest.mark.parametrize("bits", range(1, 9))
def test_packing_gives_memory_of_its_own(bits: int) -> None:
    codes = torch.ones(16, dtype=torch.uint8)
    packed = pack(codes, bits)
    codes.zero_()
    assert unpack(packed, bits, 16).tolist() == [1] * 16
