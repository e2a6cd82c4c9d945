"""Which plan to try next. This file is the whole of the choosing; a better one replaces it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from laconic.core.budget import Miss

BITS = (8, 6, 4, 3, 2)


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A plan in outline.

    Args:
        bits: of the weights.
        activations: whether activations are rounded to 8 bits too, so that integer kernels run.
    """

    bits: int
    activations: bool

    @property
    def name(self) -> str:
        """Short name, fit for a folder."""
        return f"w{self.bits}a8" if self.activations else f"w{self.bits}"

    def __str__(self) -> str:
        return f"{self.bits}-bit weights, {'8-bit' if self.activations else 'float'} activations"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a proposal.

    Args:
        proposal: what was tried.
        misses: limits that the measured artifact does not meet.
        slower: the artifact is slower than the original although its activations were rounded to be faster.
    """

    proposal: Proposal
    misses: tuple[Miss, ...]
    slower: bool = False

    @property
    def accepted(self) -> bool:
        """Whether it meets the budget and pays."""
        return not self.misses and not self.slower

    @property
    def excess(self) -> float:
        """How far it is from the budget, all limits together; 0 when it holds."""
        return sum((miss.measured - miss.bound) / max(miss.bound, 1e-3) for miss in self.misses)

    def __str__(self) -> str:
        reasons = [*map(str, self.misses), *(["slower than the original"] if self.slower else [])]
        return "; ".join(reasons) or "meets the budget"


def next_proposal(outcomes: Sequence[Outcome]) -> Proposal | None:
    """Returns what to try after these outcomes: 8-bit integers first, then fewer bits until the budget holds.

    Rounded activations that make the artifact slower, or cost too much accuracy, are taken back before anything else; a
    budget of size asks for fewer bits; no other limit gets nearer by fewer bits, so the search ends there.

    Returns:
        None when a proposal was accepted or nothing is left to try.
    """
    if not outcomes:
        return Proposal(bits=BITS[0], activations=True)
    last = outcomes[-1]
    if last.accepted:
        return None
    missed = {miss.name for miss in last.misses}
    if "size" in missed:
        fewer = [bits for bits in BITS if bits < last.proposal.bits]
        return Proposal(bits=fewer[0], activations=last.proposal.activations) if fewer else None
    if last.proposal.activations and (last.slower or "drop" in missed):
        return Proposal(bits=last.proposal.bits, activations=False)
    return None


def rank(outcome: Outcome) -> tuple[bool, bool, float]:
    """Returns a key that sorts outcomes from the best to the worst.

    First what meets the budget, and of that what is not slower for nothing; then what is nearest to the budget.
    """
    return bool(outcome.misses), outcome.slower, outcome.excess
