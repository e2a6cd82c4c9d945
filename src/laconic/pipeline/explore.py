"""Which ways to a budget there are: each is carried out without training, and its distance measured."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial

from laconic.core.apply import apply
from laconic.core.budget import Budget, Limit
from laconic.core.errors import LaconicError
from laconic.core.plan import Plan
from laconic.measure import module_bytes
from laconic.pipeline.bases import Base, Bases
from laconic.pipeline.ledger import Ledger
from laconic.pipeline.planning import coded_bytes, offered, uniform
from laconic.pipeline.proposal import Proposal
from laconic.pipeline.routes import SLIGHT, Route, Wanted
from laconic.select import allocate
from laconic.select.front import least_bytes

KEEPS = (1.0, 0.75, 0.5, 0.35, 0.25, 0.15)
"""Fractions of the multiply-accumulates that are tried, besides the one that the budget names."""
SIZES = (1 / 6, 1 / 10, 1 / 16, 1 / 24, 1 / 36)
"""Fractions of the file that are tried where accuracy alone is limited."""
TOO_MUCH = 0.3
"""Nats that no short training takes back."""


def explore(bases: Bases, wanted: Wanted, ledger: Ledger | None = None) -> list[Route]:
    """Prices the ways to a budget.

    Fewer and fewer channels, or blocks, are tried until the limits can hold and less would only cost more.

    Args:
        bases: of the job.
        wanted: what the budget asks for.
        ledger: of a run that was killed; what it holds is not priced anew. None: an empty one.
    """
    ledger = ledger or Ledger()
    routes: list[Route] = []
    best, stuck = math.inf, False
    for keep in _keeps(wanted):
        found = list(_at(bases, wanted, ledger, keep, best, blocks=keep < 1 and not stuck))
        routes += found
        stuck = stuck or any(route.proposal.blocks and not route.macs for route in found)
        if all(route.nats is None for route in found):
            break  # What cannot be cut to this cannot be cut further.
        nats = _least(found, wanted)
        enough = nats > TOO_MUCH if wanted.anything else nats <= SLIGHT or math.inf > nats > best
        if enough:
            break
        best = math.inf if wanted.anything else min(best, nats)  # Smaller files may cost more, if they cost little.
    if all(route.nats is None for route in routes):  # What the budget asks for first cannot be: at least say what can.
        routes += _at(bases, wanted, ledger, 1.0, best, blocks=False)
    return routes


def _least(routes: Iterable[Route], wanted: Wanted) -> float:
    """Returns the nats of the best way that should meet the budget."""
    return min((r.nats for r in routes if r.nats is not None and wanted.expects(r)), default=math.inf)


def _keeps(wanted: Wanted) -> list[float]:
    if not wanted.anything and wanted.memory is None and wanted.size == wanted.macs == wanted.latency == 1:
        return [1.0]
    return [wanted.macs, *(keep for keep in KEEPS if keep < wanted.macs)]


def _at(bases: Bases, wanted: Wanted, ledger: Ledger, keep: float, best: float, *, blocks: bool) -> Iterator[Route]:
    """Yields the ways with one number of multiply-accumulates, with fewer channels and, if wished, with fewer blocks.

    Args:
        bases: of the job.
        wanted: what the budget asks for.
        ledger: what is known already.
        keep: the fraction of multiply-accumulates.
        best: nats of the best way so far that should meet the budget; what costs more before any weight is coded, is
            not looked into.
        blocks: whether blocks may go.
    """
    for route in _noted(bases, wanted, ledger, Proposal(keep=keep), best):
        bases.job.progress.say(f"considered: {route}")
        best = best if wanted.anything else min(best, _least([route], wanted))
        yield route
    if not blocks:
        return
    if wanted.latency == 1:  # Blocks save more time than as many products in channels, but nothing else.
        best = min(best, ledger.nats(Proposal(keep=keep)))
    for route in _noted(bases, wanted, ledger, Proposal(keep=keep, blocks=True), best):
        bases.job.progress.say(f"considered: {route}")
        yield route


def _noted(bases: Bases, wanted: Wanted, ledger: Ledger, cut: Proposal, best: float) -> Iterator[Route]:
    """Yields what `_with` does; the ledger knows it then, and how far the cut alone is from the original."""
    if (known := ledger.routes(cut)) is not None:
        yield from known
        return
    found = []
    for route in _with(bases, wanted, ledger, cut, best):
        found.append(route)
        yield route
    alone = 0.0 if cut.keep == 1 else math.inf if cut.blocks else bases.nats(cut.keep)
    ledger.finish(cut, found, alone)


def _with(bases: Bases, wanted: Wanted, ledger: Ledger, cut: Proposal, best: float) -> Iterator[Route]:
    """Yields the ways with some channels, or some blocks."""
    original_bytes = wanted.original_bytes
    try:
        base = bases.at(cut.keep, blocks=cut.blocks)
    except LaconicError as error:
        yield Route(proposal=cut, size_bytes=original_bytes, macs=0, nats=None, why=str(error))
        return
    overhead = max(0, original_bytes - module_bytes(bases.job.model))
    if cut.keep < 1 and base.nats > best:
        why, left = f"cutting {cut.cut} alone costs {base.nats:.2g} nats", module_bytes(base.model) + overhead
        yield Route(proposal=cut, size_bytes=left, macs=base.macs, nats=None, why=why)
        return
    uniform_ones = [replace(cut, activations=activations) for activations in (True, False)]
    whole = [ledger.once(one, partial(_uniform, bases, base, wanted, one, overhead)) for one in uniform_ones]
    yield from whole
    smallest = min(route.size_bytes for route in whole)
    sizes = [size for size in (SIZES if wanted.anything else (wanted.size,)) if size * original_bytes < smallest]
    for activations in (True, False):
        for size in sizes:
            proposal = replace(cut, size=size, activations=activations)
            found = ledger.once(proposal, partial(_mixed, bases, base, wanted, proposal, overhead))
            yield found
            if found.nats is None:
                break  # Still smaller is not possible either.


def _uniform(bases: Bases, base: Base, wanted: Wanted, proposal: Proposal, overhead: int) -> Route:
    plan = uniform(base, activations=proposal.activations)
    network = apply(base.model, plan).eval()
    return Route(
        proposal=proposal,
        size_bytes=coded_bytes(network, plan) + overhead,
        macs=base.macs,
        nats=bases.yardstick.nats(network),
        time=bases.time(base.plan + plan) if wanted.latency < 1 else None,
        memory=_memory(bases, base, wanted, proposal),
    )


def _mixed(bases: Bases, base: Base, wanted: Wanted, proposal: Proposal, overhead: int) -> Route:
    assert proposal.size is not None
    prices, beside = offered(base, activations=proposal.activations), base.rounding if proposal.activations else Plan()
    bound, least = proposal.size * wanted.original_bytes - overhead, least_bytes(prices)
    if bound < least:
        why = f"too large: the smallest form of every layer leaves {least + overhead:,} B"
        return Route(proposal=proposal, size_bytes=least + overhead, macs=base.macs, nats=None, why=why)
    choice = allocate(prices, Budget(size=Limit(bound, relative=False)))
    plan = choice.plan + beside
    return Route(
        proposal=proposal,
        size_bytes=choice.size_bytes + overhead,
        macs=round(choice.macs),
        nats=bases.yardstick.nats(apply(base.model, plan).eval()),
        time=bases.time(base.plan + plan) if wanted.latency < 1 else None,
        memory=_memory(bases, base, wanted, proposal),
    )


def _memory(bases: Bases, base: Base, wanted: Wanted, proposal: Proposal) -> float | None:
    left, whole = (module_bytes(model) for model in (base.model, bases.job.model))
    return wanted.memory_of(left, whole, integers=proposal.activations)
