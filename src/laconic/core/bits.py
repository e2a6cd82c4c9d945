"""Codes of 1 to 8 bits, packed without gaps."""

from __future__ import annotations

import torch
from torch import Tensor

PIECE = 2**22  # Codes that are spread out to 64 bits each at a time; whole rows of eight.


def packed_size(count: int, bits: int) -> int:
    """Returns the bytes that `count` codes of `bits` bits take.

    Example:
        >>> packed_size(5, 4), packed_size(3, 3)
        (3, 2)
    """
    return (count * bits + 7) // 8


def pack(codes: Tensor, bits: int) -> Tensor:
    """Packs unsigned codes, least significant bit first, into bytes.

    Args:
        codes: uint8, any shape, each below `2**bits`; taken in row-major order.
        bits: 1 to 8.

    Returns:
        uint8 `[packed_size(codes.numel(), bits)]`; the last byte is filled with zeros.

    Guarantees:
        `unpack(pack(codes, bits), bits, codes.numel())` equals `codes.flatten()`.
        4-bit codes lie two to a byte, the first in the low half, as ONNX packs them.

    Example:
        >>> pack(torch.tensor([1, 2, 3], dtype=torch.uint8), 4).tolist()
        [33, 3]
    """
    flat = codes.flatten()
    if bits == 8:
        return flat.clone()
    # Eight codes always fill exactly `bits` bytes, so whole rows of eight are packed at once.
    return torch.cat([_packed(piece, bits) for piece in torch.split(flat, PIECE)])


def unpack(packed: Tensor, bits: int, count: int) -> Tensor:
    """Returns the first `count` codes of a packed tensor, uint8 `[count]`."""
    if bits == 8:
        return packed[:count].clone()
    return torch.cat([_unpacked(piece, bits) for piece in torch.split(packed, PIECE // 8 * bits)])[:count].clone()


def _packed(flat: Tensor, bits: int) -> Tensor:
    words = (_rows(flat, 8) << (torch.arange(8) * bits)).sum(1)
    octets: Tensor = (words[:, None] >> (torch.arange(bits) * 8)) & 255
    return octets.to(torch.uint8).flatten()[: packed_size(len(flat), bits)]


def _unpacked(packed: Tensor, bits: int) -> Tensor:
    words = (_rows(packed, bits) << (torch.arange(bits) * 8)).sum(1)
    codes: Tensor = (words[:, None] >> (torch.arange(8) * bits)) & (2**bits - 1)
    return codes.to(torch.uint8).flatten()


def _rows(octets: Tensor, width: int) -> Tensor:
    padded = torch.nn.functional.pad(octets, (0, -len(octets) % width))
    return padded.view(len(padded) // width, width).long()
