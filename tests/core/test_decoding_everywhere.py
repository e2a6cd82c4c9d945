"""What stored numbers stand for, as a digest of its bits: the same on every machine and in every version."""

from __future__ import annotations

import hashlib

import pytest
import torch

from laconic.core.blocks import Blocks
from laconic.core.codings import (
    AffineGrid,
    Codebook,
    Coding,
    Dictionary,
    Half,
    Hashed,
    LowRankSum,
    Sparse,
    ValueGrid,
    Zipped,
)
from laconic.core.formats import NF4
from laconic.core.layout import Layout

SHAPE = (6, 10)
COUNT = 60


def numbers(*shape: int) -> torch.Tensor:
    """Thirds and sevenths, made without a generator."""
    count = torch.Size(shape).numel()
    return ((torch.arange(count) * 37 % 101 - 50).float() / 21).reshape(shape)


def codes(count: int, below: int) -> torch.Tensor:
    return (torch.arange(count) * 29 % below).to(torch.uint8)


def affine() -> AffineGrid:
    blocks = Blocks(shape=SHAPE, axis=0, group_size=4)
    scale, zero = numbers(blocks.count).abs() + 0.1, codes(blocks.count, 7)
    return AffineGrid.fit(3 * numbers(*SHAPE), bits=3, blocks=blocks, scale=scale, zero_point=zero.float())


LAYOUT = Layout.rows(SHAPE)
VECTORS = Blocks(shape=SHAPE, axis=0, group_size=4)
CODINGS: dict[str, tuple[Coding, str]] = {
    "affine": (affine(), "2511572320489295"),
    "values": (
        ValueGrid.fit(numbers(*SHAPE), format=NF4, blocks=VECTORS, scale=numbers(VECTORS.count).abs() + 0.1),
        "472dcc62c54f75bf",
    ),
    "codebook": (
        Codebook.of(
            vectors=VECTORS, rows=3, books=numbers(2, 2, 5, 4), scale=numbers(6) + 3, codes=codes(36, 5).view(2, 18)
        ),
        "473a12f0f9acafe6",
    ),
    "dictionary": (
        Dictionary.of(
            layout=LAYOUT, atoms=numbers(5, 4), amounts=numbers(18, 3), codes=codes(54, 5).long().view(18, 3)
        ),
        "31a733adedab7c3b",
    ),
    "hashed": (Hashed(dims=SHAPE, seed=7, values=numbers(11)), "24113f8b9a772229"),
    "sum": (
        LowRankSum(layout=LAYOUT, left=numbers(1, 6, 3), right=numbers(1, 3, 10), rest=affine()),
        "3726b2e53e892e34",
    ),
    "sparse": (Sparse.of(numbers(*SHAPE), numbers(*SHAPE) > 0.3, inner=affine()), "6ae9914c67706a22"),
    "half": (Half.of(numbers(*SHAPE)), "ef6d0ed690b66992"),
    "zipped": (Zipped.of(affine()), "2511572320489295"),
}


@pytest.mark.parametrize("name", CODINGS)
def test_the_bits_are_those_that_were_always_meant(name: str) -> None:
    coding, expected = CODINGS[name]
    again = type(coding).from_parts(coding.config(), coding.tensors())
    for one in (coding, again):
        assert hashlib.sha256(one.decode().numpy().tobytes()).hexdigest()[:16] == expected
