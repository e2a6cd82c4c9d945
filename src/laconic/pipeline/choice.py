"""Which way to try next, given what is known of all ways and what became of those that were tried."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import median

from laconic.core.budget import Miss
from laconic.pipeline.proposal import Proposal
from laconic.pipeline.routes import SLIGHT, Route, Wanted

ATTEMPTS = 5
INTEGER_TIME, FLOAT_TIME = 0.7, 1.0
"""Time of one inference against the original's with as many multiply-accumulates, where it is not predicted."""
BOLD = 10 * SLIGHT
"""Nats that recovery usually takes back: the search for the smallest file starts there."""
DOUBT = 0.25
"""By how much the time of a small network may be predicted too long; to measure once costs less than channels."""
CAREFUL, FEWEST = 0.97, 0.02
"""How much more is cut than a measurement asks for, and the least that is kept."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a proposal.

    Args:
        proposal: what was tried.
        misses: limits that the measured artifact does not meet.
        slower: the artifact is slower than the original although its activations were rounded to be faster.
        time: measured time of one inference over the original's; None: it was not measured.
        size_bytes: of the file.
    """

    proposal: Proposal
    misses: tuple[Miss, ...]
    slower: bool = False
    time: float | None = None
    size_bytes: int = 0

    @property
    def accepted(self) -> bool:
        """Whether it meets the budget and pays."""
        return not self.misses and not self.slower

    @property
    def excess(self) -> float:
        """How far it is from the budget, all limits together; 0 when it holds."""
        return sum((miss.measured - miss.bound) / max(miss.bound, 1e-3) for miss in self.misses)

    def missed(self, name: str) -> Miss | None:
        """Returns the miss of one limit."""
        return next((miss for miss in self.misses if miss.name == name), None)

    def __str__(self) -> str:
        reasons = [*map(str, self.misses), *(["slower than the original"] if self.slower else [])]
        return "; ".join(reasons) or "meets the budget"


def rank(outcome: Outcome) -> tuple[bool, bool, float, int]:
    """Returns a key that sorts outcomes from the best to the worst.

    First what meets the budget, and of that what is not slower for nothing; then what is nearest to the budget; of
    several that meet it, the smallest.
    """
    return bool(outcome.misses), outcome.slower, outcome.excess, outcome.size_bytes


def next_proposal(wanted: Wanted, routes: Sequence[Route], outcomes: Sequence[Outcome]) -> Proposal | None:
    """Returns what to try after these outcomes.

    The way of the fewest nats among those that should fit; where several cost next to nothing, the fastest. What missed
    a limit rules out all that would miss it as well, and rounded activations that came out slower all others. If no way
    is left, the nearest is set right by its measurement: fewer channels, or fewer bytes for its weights.
    Where accuracy alone is limited, smaller and smaller files are tried until it no longer holds.

    Returns:
        None when a proposal was accepted or nothing is left to try.
    """
    tried = {outcome.proposal for outcome in outcomes}
    left = [route for route in routes if route.nats is not None and route.proposal not in tried]
    if len(outcomes) >= ATTEMPTS:
        return None
    if wanted.anything:
        return _smaller(left, outcomes)
    if any(outcome.accepted for outcome in outcomes):
        return None
    taught = [route for route in left if _stands(route, routes, outcomes)]
    fitting = [route for route in taught if wanted.allows(route) and should_be_quick(route, wanted, routes, outcomes)]
    if fitting:
        return min(fitting, key=lambda route: _preference(route, routes, outcomes)).proposal
    if outcomes:
        again = (_replanned(outcome, wanted, outcomes) for outcome in sorted(outcomes, key=rank))
        return next((found for found in again if found is not None and found not in tried), None)
    return min(left, key=lambda route: _distance(route, wanted, routes)).proposal


def _distance(route: Route, wanted: Wanted, routes: Sequence[Route]) -> tuple[float, float]:
    """Returns a key that sorts ways that do not fit: by how much they exceed the limits together, then by nats."""
    shares = (
        route.size_bytes / (wanted.size * wanted.original_bytes),
        route.macs / (wanted.macs * wanted.original_macs),
        (route.memory or 0.0) / (wanted.memory or math.inf),
        time_of(route, routes, []) / wanted.latency,
    )
    return sum(max(0.0, share - 1) for share in shares), route.nats or 0.0


def should_be_quick(route: Route, wanted: Wanted, routes: Sequence[Route], outcomes: Sequence[Outcome]) -> bool:
    """Whether a way may hold the limit of time: until one like it has been measured, with the benefit of the doubt."""
    alike = any(one.time is not None and one.proposal.activations == route.proposal.activations for one in outcomes)
    doubt = 0.0 if alike else DOUBT
    return wanted.latency == 1 or time_of(route, routes, outcomes) <= (1 + doubt) * wanted.latency


def time_of(route: Route, routes: Sequence[Route], outcomes: Iterable[Outcome]) -> float:
    """Predicts the time of one inference over the original's, set right by what was measured of ways like it."""
    known = {one.proposal: _guess(one) for one in routes}
    off = [
        outcome.time / known[outcome.proposal]
        for outcome in outcomes
        if outcome.time is not None
        and outcome.proposal in known
        and outcome.proposal.activations == route.proposal.activations
    ]
    return _guess(route) * (median(off) if off else 1.0)


def _guess(route: Route) -> float:
    if route.time is not None:
        return route.time
    return route.proposal.keep * (INTEGER_TIME if route.proposal.activations else FLOAT_TIME)


def _preference(route: Route, routes: Sequence[Route], outcomes: Sequence[Outcome]) -> tuple[float, float, int]:
    return max(route.nats or 0.0, SLIGHT), time_of(route, routes, outcomes), route.size_bytes


def _stands(route: Route, routes: Sequence[Route], outcomes: Sequence[Outcome]) -> bool:
    """Whether nothing that was tried speaks against a way."""
    known = {one.proposal: one for one in routes}
    for outcome in outcomes:
        before = known.get(outcome.proposal)
        if outcome.slower and route.proposal.activations:
            return False
        if outcome.missed("drop") and before is not None and (route.nats or 0.0) >= (before.nats or 0.0):
            return False
        # Rounded activations take bytes of their own, so a file with them that came out too large says nothing of one
        # without.
        alike = route.proposal.activations >= outcome.proposal.activations
        if alike and outcome.missed("size") and before is not None and route.size_bytes >= before.size_bytes:
            return False
        if outcome.missed("macs") and route.proposal.keep >= outcome.proposal.keep:
            return False
        if outcome.missed("memory") and before is not None and (route.memory or 0.0) >= (before.memory or 0.0):
            return False
        late = outcome.missed("latency")
        if late and time_of(route, routes, outcomes) > (outcome.time or 1.0) * late.bound / late.measured:
            return False
    return True


def _replanned(outcome: Outcome, wanted: Wanted, outcomes: Sequence[Outcome]) -> Proposal | None:
    """Returns a proposal set right by what was measured of it, if that is a matter of size or of channels."""
    found = outcome.proposal
    if outcome.missed("drop") or outcome.missed("memory"):
        return None
    keeps = []
    if (large := outcome.missed("size")) is not None:
        if found.size is None:
            found = replace(found, size=wanted.size)
        else:  # Channels, since blocks come in too few sizes to be set right.
            found = replace(found, cut="student" if found.cut == "student" else "channels")
            keeps.append(found.keep * large.bound / large.measured)
    if (many := outcome.missed("macs")) is not None:
        keeps.append(found.keep * many.bound / many.measured)
    if (late := outcome.missed("latency")) is not None:
        keeps.append(_quick_enough(outcome, late, outcomes))
    if keeps:
        found = replace(found, keep=round(CAREFUL * min(keeps), 3))
    return None if found.keep < FEWEST else found


def _quick_enough(outcome: Outcome, late: Miss, outcomes: Sequence[Outcome]) -> float:
    """Returns what to keep so that a limit of time holds.

    Part of the time does not shrink with channels. So it is read off the line through this measurement and that of the
    next slower one of its kind (for floats, the original is one); but no more than half is cut at once. Without
    another, all of the time is taken to shrink.
    """
    keep, time = outcome.proposal.keep, outcome.time or 1.0
    bound = time * late.bound / late.measured
    alike = [
        (one.proposal.keep, one.time)
        for one in outcomes
        if one.time is not None and one.proposal.activations == outcome.proposal.activations
    ]
    known = alike if outcome.proposal.activations else [*alike, (1.0, 1.0)]
    slower = [point for point in known if point[0] > keep and point[1] > time]
    if not slower:
        return keep * bound / time
    more, longer = min(slower)
    return max(keep - (time - bound) * (more - keep) / (longer - time), keep / 2)


def _smaller(left: Sequence[Route], outcomes: Sequence[Outcome]) -> Proposal | None:
    """Returns the next smaller way after one that was accepted, the next larger one after one that lost too much."""
    if not outcomes:
        bold = [route for route in left if route.nats is not None and route.nats <= BOLD]
        return min(bold, key=lambda r: r.size_bytes).proposal if bold else min(left, key=lambda r: r.nats or 0).proposal
    held = [outcome.size_bytes for outcome in outcomes if outcome.accepted]
    lost = [outcome.size_bytes for outcome in outcomes if outcome.missed("drop")]
    too_slow = any(outcome.slower for outcome in outcomes)
    open_ = [
        route
        for route in left
        if route.size_bytes < min(held, default=float("inf"))
        and route.size_bytes > max(lost, default=0)
        and not (too_slow and route.proposal.activations)
    ]
    if not open_:
        return None
    step = max if held else min
    nearest = step(route.size_bytes for route in open_)
    same = [route for route in open_ if 0.9 * nearest <= route.size_bytes <= 1.1 * nearest]
    return min(same, key=lambda route: (max(route.nats or 0.0, SLIGHT), route.macs)).proposal
