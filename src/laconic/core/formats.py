"""Number formats of at most 256 values, as the tables of those values."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, product
from typing import final

import torch
from torch import Tensor

from laconic.core.errors import invalid

CLOSEST = 1e-5  # Values nearer to each other, as a share of the larger one, could not be told apart in float32.


@final
@dataclass(frozen=True)
class Format:
    """The values that a code can stand for, before they are multiplied by a scale.

    Args:
        name: short, such as `"nf4"`.
        values: 2 to 256 finite numbers, ascending, neighbours at least 1e-5 of the larger one apart; at most `1e9`, and
            at least `1e-9` where they are not zero, so that no scale makes them overflow.

    Example:
        >>> thirds = Format("thirds", (-1.0, -1 / 3, 1 / 3, 1.0))
        >>> thirds.bits, str(thirds)
        (2, 'thirds')
    """

    name: str
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if not 2 <= len(self.values) <= 256:
            raise invalid(f"Format({self.name}).values", f"{len(self.values)} values", "2 to 256 of them")
        for value in self.values:
            if not (value == 0 or 1e-9 <= abs(value) <= 1e9):
                raise invalid(f"Format({self.name}).values", value, "zero, or a size from 1e-9 to 1e9")
        for low, high in pairwise(self.values):
            if not high - low > CLOSEST * max(abs(low), abs(high)):
                raise invalid(
                    f"Format({self.name}).values", f"{low} before {high}", "ascending values, no two (nearly) the same"
                )

    @property
    def bits(self) -> int:
        """Bits of a code."""
        return (len(self.values) - 1).bit_length()

    @cached_property
    def table(self) -> Tensor:
        """The values, float32 `[len(values)]`, ascending."""
        return torch.tensor(self.values, dtype=torch.float32)

    def __str__(self) -> str:
        return self.name


def floating(name: str, *, exponent_bits: int, mantissa_bits: int, largest: float) -> Format:
    """Returns a small floating-point format: sign, exponent and mantissa, with subnormal numbers.

    `(-1)^s 2^(e - bias) (1 + m / 2^mantissa_bits)`, `bias = 2^(exponent_bits - 1) - 1`; for `e = 0` without the leading
    one, at `e = 1`'s exponent. Codes that stand for infinity or NaN are left out, and the two zeros are one.

    Args:
        name: of the format.
        exponent_bits: 2 to 5.
        mantissa_bits: 1 to 3.
        largest: its largest finite number, which says which codes are taken by infinity and NaN.

    Reference:
        Micikevicius et al. 2022, arXiv:2209.05433 (E4M3, E5M2); OCP Microscaling Formats 1.0 (the others).

    Example:
        >>> floating("fp4_e2m1", exponent_bits=2, mantissa_bits=1, largest=6).values[7:]
        (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
    """
    bias, steps = 2 ** (exponent_bits - 1) - 1, 2**mantissa_bits
    found = [m / steps * 2.0 ** (1 - bias) for m in range(steps)]
    found += [(1 + m / steps) * 2.0 ** (e - bias) for e in range(1, 2**exponent_bits) for m in range(steps)]
    return _both_signs(name, [value for value in found if value <= largest])


def power_of_two(bits: int) -> Format:
    """Returns zero and `+-2^-k`, `k = 0 ... 2^(bits - 1) - 2`: multiplying is shifting.

    Args:
        bits: 2 to 5.

    Reference:
        Miyashita et al. 2016, arXiv:1603.01025 (LogNet); Zhou et al. 2017, arXiv:1702.03044 (INQ).

    Example:
        >>> power_of_two(3).values
        (-1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0)
    """
    if bits not in range(2, 6):
        raise invalid("power_of_two.bits", bits, "a whole number from 2 to 5", "More only reach nearer to zero.")
    return _both_signs(f"pow2_{bits}", [0.0, *(2.0**-k for k in range(2 ** (bits - 1) - 1))])


def logarithmic(bits: int, *, steps: int = 2) -> Format:
    """Returns zero and `+-2^(-k / steps)`, `k = 0 ... 2^(bits - 1) - 2`: evenly spaced on a logarithmic scale.

    Args:
        bits: 2 to 6.
        steps: values to a factor of two, 1 to 8.

    Reference:
        Miyashita et al. 2016, arXiv:1603.01025, section 3.1 (base square root of two: two steps).

    Example:
        >>> [round(value, 3) for value in logarithmic(3).values[3:]]
        [0.0, 0.5, 0.707, 1.0]
    """
    if bits not in range(2, 7):
        raise invalid("logarithmic.bits", bits, "a whole number from 2 to 6")
    if steps not in range(1, 9) or 2 ** (bits - 1) - 2 > 30 * steps:
        raise invalid("logarithmic.steps", steps, "a whole number from 1 to 8, and at least 2 for 6 bits")
    name = f"log{steps}_{bits}"
    return _both_signs(name, [0.0, *(2 ** (-k / steps) for k in range(2 ** (bits - 1) - 1))])


def additive_power_of_two(bits: int) -> Format:
    """Returns signed sums of a few powers of two, the largest 1: finer than powers of two where weights are large.

    Each term is zero or one of three powers; with an odd number of bits for the size, one term is zero or one power.

    Args:
        bits: 3 to 7, one of them for the sign.

    Reference:
        Li, Dong and Wang 2020, arXiv:1909.13144, equation 3; for odd sizes as in the authors' published code.

    Example:
        >>> [round(10 * value) for value in additive_power_of_two(4).values[7:]]  # tenths
        [0, 1, 2, 3, 4, 6, 8, 10]
    """
    if bits not in range(3, 8):
        raise invalid("additive_power_of_two.bits", bits, "a whole number from 3 to 7")
    pairs, odd = divmod(bits - 1, 2)
    terms, exponent = [[0.0] for _ in range(pairs + odd)], 0
    for row in range(3):
        # The term of one bit takes its turn before the others take their last.
        for term in (*terms[pairs:], *terms[:pairs]) if row == 2 else terms[:pairs]:
            exponent += 1
            term.append(2.0**-exponent)
    sums = sorted({sum(chosen) for chosen in product(*terms)})
    return _both_signs(f"apot_{bits}", [value / sums[-1] for value in sums])


def _both_signs(name: str, sizes: list[float]) -> Format:
    return Format(name, tuple(sorted({sign * size if size else 0.0 for size in sizes for sign in (-1, 1)})))


# Quantiles of the normal distribution, eight below zero and nine from it on, the largest size 1.
NF4 = Format(
    "nf4",
    (
        -1.0,
        -0.6961928009986877,
        -0.5250730514526367,
        -0.39491748809814453,
        -0.28444138169288635,
        -0.18477343022823334,
        -0.09105003625154495,
        0.0,
        0.07958029955625534,
        0.16093020141124725,
        0.24611230194568634,
        0.33791524171829224,
        0.44070982933044434,
        0.5626170039176941,
        0.7229568362236023,
        1.0,
    ),
)
"""Dettmers et al. 2023, arXiv:2305.14314, appendix E."""

FP8_E4M3 = floating("fp8_e4m3", exponent_bits=4, mantissa_bits=3, largest=448)
FP8_E5M2 = floating("fp8_e5m2", exponent_bits=5, mantissa_bits=2, largest=57344)
FP6_E2M3 = floating("fp6_e2m3", exponent_bits=2, mantissa_bits=3, largest=7.5)
FP6_E3M2 = floating("fp6_e3m2", exponent_bits=3, mantissa_bits=2, largest=28)
FP4_E2M1 = floating("fp4_e2m1", exponent_bits=2, mantissa_bits=1, largest=6)
INT8 = Format("int8", tuple(k / 64 for k in range(-127, 128)))
"""Whole numbers in 64ths, the elements of MXINT8."""

TERNARY = Format("ternary", (-1.0, 0.0, 1.0))
"""Li, Zhang and Liu 2016, arXiv:1605.04711."""
BINARY = Format("binary", (-1.0, 1.0))
"""Rastegari et al. 2016, arXiv:1603.05279, section 3.1 (the weights)."""

KNOWN: tuple[Format, ...] = (
    NF4,
    FP8_E4M3,
    FP8_E5M2,
    FP6_E2M3,
    FP6_E3M2,
    FP4_E2M1,
    INT8,
    TERNARY,
    BINARY,
    *(power_of_two(bits) for bits in range(2, 6)),
    *(additive_power_of_two(bits) for bits in range(3, 8)),
)
"""Formats whose values follow from their names: nothing but the name is stored."""
