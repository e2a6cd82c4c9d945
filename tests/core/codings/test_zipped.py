"""Entropy coded codings."""

import pytest
import torch

from core.samples import sample_codings, symmetric
from laconic.core.codings import Dense, Zipped
from laconic.core.errors import UsageError

ZEROS = Zipped.of(Dense.of(torch.zeros(50, 40)))


@pytest.mark.parametrize("name", sample_codings())
def test_it_decodes_to_what_the_inner_coding_does_and_is_not_larger(name: str) -> None:
    inner = sample_codings()[name]
    coding = Zipped.of(inner)
    again = Zipped.from_parts(coding.config(), coding.tensors())
    assert torch.equal(again.decode().view(torch.int32), inner.decode().view(torch.int32))
    assert coding.size_bytes <= inner.size_bytes


@pytest.mark.parametrize("bits", range(2, 9))
def test_codes_of_any_width_come_back(bits: int) -> None:
    inner = symmetric(torch.randn(37, 41).pow(3), bits)
    coding = Zipped.of(inner)
    assert coding.size_bytes < inner.size_bytes
    assert torch.equal(Zipped.from_parts(coding.config(), coding.tensors()).inner.tensors()["codes"], inner.codes)


def test_what_was_read_is_written_again_as_it_was_whatever_the_compressor_does_today() -> None:
    import zstandard

    other = zstandard.ZstdCompressor(level=1).compress(bytes(8000))
    tensors = {"values": torch.frombuffer(bytearray(other), dtype=torch.uint8)}
    read = Zipped.from_parts(ZEROS.config(), tensors)
    assert torch.equal(read.tensors()["values"], tensors["values"])
    assert torch.equal(read.decode(), torch.zeros(50, 40))


def test_damaged_bytes_are_refused() -> None:
    content = ZEROS.tensors()["values"].clone()
    content[-3] ^= 255
    with pytest.raises(UsageError, match="damaged bytes"):
        Zipped.from_parts(ZEROS.config(), {"values": content})


def test_a_frame_that_says_another_length_is_refused_before_it_is_unpacked() -> None:
    larger = Zipped.of(Dense.of(torch.zeros(5000, 4000)))
    with pytest.raises(UsageError, match=r"a frame of 80000000 bytes'; expected 8000 bytes"):
        Zipped.from_parts(ZEROS.config(), larger.tensors())
