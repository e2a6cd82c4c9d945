"""How nearly a result saves what was asked, and what is said or done where it does not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

Result = TypeVar("Result")

NEAR = 0.02
"""Results that save so much more or less than asked still count as near."""


def missed(asked: float, saved: float, *, of: str, by: str) -> list[str]:
    """Returns the sentence about a saving that is not near what was asked; empty where it is.

    Args:
        asked: the fraction to save, in `[0, 1)`.
        saved: the fraction that is saved.
        of: what the fractions are of, such as `"macs"`.
        by: what comes no nearer, such as `"sizes that are allowed"`.
    """
    if abs(saved - asked) <= NEAR:
        return []
    return [f"asked to save {asked:.1%} of the {of}, saved {saved:.1%}: no {by} come nearer."]


def comparable(found: Sequence[Result], saved: Sequence[float], asked: float) -> list[Result]:
    """Returns the results that come about as near to what was asked as the nearest: only they can be compared.

    Args:
        found: at least one result.
        saved: by each, a fraction.
        asked: the fraction to save.
    """
    off = [abs(fraction - asked) for fraction in saved]
    return [one for one, miss in zip(found, off, strict=True) if miss <= min(off) + NEAR]
