"""Which places hold something, in as few bytes as one of three formats needs."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self, final

import torch
from torch import Tensor

from laconic.core.bits import pack, packed_size, unpack
from laconic.core.errors import invalid
from laconic.core.stored import Stored

GAP_BITS = tuple(range(2, 9))
LARGEST_GROUP = 32


class Positions(Stored):
    """A set of places among `count`, in order.

    Guarantees:
        `of(taken, ...).taken()` equals `taken`.
    """

    count: int

    @abstractmethod
    def taken(self) -> Tensor:
        """Returns which places are in the set, bool `[count]`."""

    def config(self) -> dict[str, Any]:
        """Returns the settings."""
        return {name: value for name, value in vars(self).items() if isinstance(value, int)}

    def tensors(self) -> dict[str, Tensor]:
        """Returns the packed places."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}

    @classmethod
    def from_parts(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """Undoes `config` and `tensors`."""
        return cls(**config, **tensors)

    @property
    def size_bytes(self) -> int:
        """Bytes of what is stored."""
        return sum(t.numel() for t in self.tensors().values())


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Bitmap(Positions):
    """One bit a place.

    Args:
        count: places.
        bitmap: uint8, packed.

    Example:
        >>> Bitmap.of(torch.tensor([True, False, True])).bitmap.tolist()
        [5]
    """

    kind: ClassVar[str] = "bitmap"
    count: int
    bitmap: Tensor

    def __post_init__(self) -> None:
        _check("Bitmap.bitmap", self.bitmap, packed_size(self.count, 1))

    @classmethod
    def of(cls, taken: Tensor) -> Self:
        """Packs a set, bool `[count]`."""
        return cls(count=len(taken), bitmap=pack(taken.to(torch.uint8), 1))

    def taken(self) -> Tensor:
        """Returns which places are in the set, bool `[count]`."""
        return unpack(self.bitmap, 1, self.count).bool()

    def __str__(self) -> str:
        return "bitmap"


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Gaps(Positions):
    """The number of empty places before each one that is taken, in few bits.

    The largest code says: so many empty places, and go on. Deep Compression stores a zero there instead.

    Args:
        count: places.
        bits: of a code, 2 to 8.
        codes: how many there are.
        gaps: uint8, packed.

    Reference:
        Han, Mao and Dally 2016, arXiv:1510.00149, section 2.

    Example:
        >>> Gaps.of(torch.tensor([0, 0, 1, 0, 0, 0, 0, 1]).bool(), bits=2).codes  # 2 | 3 (go on), 1
        3
    """

    kind: ClassVar[str] = "gaps"
    count: int
    bits: int
    codes: int
    gaps: Tensor

    def __post_init__(self) -> None:
        if self.bits not in GAP_BITS:
            raise invalid("Gaps.bits", self.bits, "a whole number from 2 to 8")
        _check("Gaps.gaps", self.gaps, packed_size(self.codes, self.bits))

    @classmethod
    def of(cls, taken: Tensor, *, bits: int | None = None) -> Self:
        """Packs a set, bool `[count]`; without `bits` in those that make it smallest."""
        empty = _empty_before(taken)
        if bits is None:
            bits = min(GAP_BITS, key=lambda b: packed_size(_codes(empty, b), b))
        longest = 2**bits - 1
        pieces = empty // longest + 1
        codes = torch.full((int(pieces.sum()),), longest, dtype=torch.uint8)
        codes[pieces.cumsum(0) - 1] = (empty % longest).to(torch.uint8)
        return cls(count=len(taken), bits=bits, codes=len(codes), gaps=pack(codes, bits))

    def taken(self) -> Tensor:
        """Returns which places are in the set, bool `[count]`."""
        codes = unpack(self.gaps, self.bits, self.codes).long()
        last = codes < 2**self.bits - 1
        places = (codes + last).cumsum(0)[last] - 1
        return torch.zeros(self.count, dtype=torch.bool).index_fill(0, places, True)

    def __str__(self) -> str:
        return f"{self.bits}-bit gaps"


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Combinations(Positions):
    """Exactly `n` of every `m` places in a row, as the number of the combination: 3 bits for 2 of 4.

    Args:
        count: places, a multiple of `m`.
        n: taken of each group.
        m: places of a group, at most 32.
        index: uint8, packed; numbers of more than 8 bits in planes of 8 bits, the lowest first.

    Reference:
        Lehmer 1964, The machine tools of combinatorics (numbering of combinations).

    Example:
        >>> Combinations.of(torch.tensor([1, 0, 1, 0, 0, 0, 1, 1]).bool(), n=2, m=4).index.tolist()  # 1, 5
        [41]
    """

    kind: ClassVar[str] = "combinations"
    count: int
    n: int
    m: int
    index: Tensor

    def __post_init__(self) -> None:
        if not 1 <= self.n <= self.m <= LARGEST_GROUP or self.count % self.m:
            domain = f"1 <= n <= m <= {LARGEST_GROUP}, m a divisor of {self.count}"
            raise invalid("Combinations", f"{self.n}:{self.m}", domain)
        _check("Combinations.index", self.index, _planes_size(self.count // self.m, self.bits))

    @property
    def bits(self) -> int:
        """Of one number."""
        return (math.comb(self.m, self.n) - 1).bit_length()

    @classmethod
    def of(cls, taken: Tensor, *, n: int, m: int) -> Self:
        """Packs a set, bool `[count]`, that takes exactly `n` of every `m`.

        Raises:
            UsageError: it does not.
        """
        rows = taken.reshape(-1, m)
        if bool((rows.sum(1) != n).any()):
            raise invalid("Combinations.of", "another number somewhere", f"exactly {n} of every {m} places")
        nth = rows.long().cumsum(1)  # the how manieth a taken place is
        numbers = (_binomials(m)[torch.arange(m), nth] * rows).sum(1)
        bits = (math.comb(m, n) - 1).bit_length()
        return cls(count=taken.numel(), n=n, m=m, index=_planes(numbers, bits))

    def taken(self) -> Tensor:
        """Returns which places are in the set, bool `[count]`."""
        numbers = _joined(self.index, self.bits, self.count // self.m)
        binomials, left = _binomials(self.m), torch.full_like(numbers, self.n)
        rows = torch.zeros(len(numbers), self.m, dtype=torch.bool)
        for place in reversed(range(self.m)):
            below = binomials[place, left]
            rows[:, place] = (left > 0) & (numbers >= below)
            numbers = numbers - below * rows[:, place]
            left = left - rows[:, place].long()
        return rows.flatten()

    def __str__(self) -> str:
        return f"{self.n}:{self.m}"


ALL: tuple[type[Positions], ...] = (Bitmap, Gaps, Combinations)


def fewest(taken: Tensor) -> Bitmap | Gaps:
    """Returns a set, bool `[count]`, as a bitmap or as gaps, whichever takes fewer bytes."""
    bitmap, gaps = Bitmap.of(taken), Gaps.of(taken)
    return gaps if gaps.size_bytes < bitmap.size_bytes else bitmap


def _check(where: str, packed: Tensor, length: int) -> None:
    if packed.shape != (length,) or packed.dtype != torch.uint8:
        raise invalid(where, f"{packed.dtype} {list(packed.shape)}", f"{length} bytes")


def _empty_before(taken: Tensor) -> Tensor:
    places = taken.nonzero().flatten()
    return places.diff(prepend=torch.tensor([-1])) - 1


def _codes(empty: Tensor, bits: int) -> int:
    return int((empty // (2**bits - 1) + 1).sum())


def _binomials(m: int) -> Tensor:
    """Returns `C(place, k)`, int64 `[m, m + 1]`."""
    return torch.tensor([[math.comb(place, k) for k in range(m + 1)] for place in range(m)])


def _widths(bits: int) -> list[int]:
    return [min(8, bits - start) for start in range(0, bits, 8)]


def _planes_size(count: int, bits: int) -> int:
    return sum(packed_size(count, width) for width in _widths(bits))


def _planes(numbers: Tensor, bits: int) -> Tensor:
    planes = [pack(((numbers >> 8 * i) & 255).to(torch.uint8), width) for i, width in enumerate(_widths(bits))]
    return torch.cat([torch.empty(0, dtype=torch.uint8), *planes])


def _joined(packed: Tensor, bits: int, count: int) -> Tensor:
    numbers, start = torch.zeros(count, dtype=torch.long), 0
    for i, width in enumerate(_widths(bits)):
        stop = start + packed_size(count, width)
        numbers += unpack(packed[start:stop], width, count).long() << 8 * i
        start = stop
    return numbers
