"""Which of a few numbers a weight shares, by a hash of its place."""

from __future__ import annotations

import torch
from torch import Tensor

WORD = 2**32 - 1
START, SIGN = 0x9E3779B9, 0x7FEB352D
FACTOR = 0x45D9F3B
PIECE = 2**20  # Places hashed at a time, so that memory stays small beside the weight.


def mixed(words: Tensor) -> Tensor:
    """Returns words of 32 bits in which every bit depends on every bit of the given ones.

    `x = (x + 0x9E3779B9) mod 2^32`, twice `x = ((x >> 16) ^ x) * 0x45D9F3B mod 2^32`, and `(x >> 16) ^ x`. Words are
    held in int64 and the factor has 27 bits: no product overflows, so that the result is the same on every machine.

    Args:
        words: int64, 0 to `2**32 - 1`.

    Guarantees:
        Different words give different words.

    Example:
        >>> mixed(torch.tensor([0, 1])).tolist()
        [3108667723, 3214059150]
    """
    words = (words + START) & WORD
    for _ in range(2):
        words = (((words >> 16) ^ words) * FACTOR) & WORD
    return (words >> 16) ^ words


def shared_places(count: int, buckets: int, seed: int) -> tuple[Tensor, Tensor]:
    """Returns which bucket each of `count` weights shares, and with which sign.

    `h = mixed(mixed(i mod 2^32) ^ mixed(i div 2^32 ^ seed))`; the bucket is `h * buckets div 2^32`, the sign the lowest
    bit of `mixed(h ^ 0x7FEB352D)`, minus where it is set.

    Args:
        count: weights, in row-major order.
        buckets: 1 to `2**31 - 1`.
        seed: 0 to `2**32 - 1`.

    Returns:
        Buckets, int32 `[count]`, and signs, int8 `[count]`.

    Reference:
        Chen et al. 2015, arXiv:1504.04788, equations 4 and 7 (a second hash for the sign).
    """
    bucket, sign = torch.empty(count, dtype=torch.int32), torch.empty(count, dtype=torch.int8)
    for first in range(0, count, PIECE):
        place = torch.arange(first, min(first + PIECE, count))
        piece = slice(first, first + len(place))
        hashed = mixed(mixed(place & WORD) ^ mixed((place >> 32) ^ seed))
        bucket[piece] = (hashed * buckets) >> 32
        sign[piece] = 1 - 2 * (mixed(hashed ^ SIGN) & 1)
    return bucket, sign
