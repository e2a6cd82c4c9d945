"""Which ways to a budget there are: each is carried out without training, and its distance measured."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from laconic.calibrate import layers
from laconic.core.apply import apply
from laconic.core.errors import LaconicError
from laconic.core.plan import Plan
from laconic.measure import module_bytes
from laconic.pipeline.bases import Base, Bases, share_of
from laconic.pipeline.choice import BOLD
from laconic.pipeline.ledger import Ledger
from laconic.pipeline.planning import (
    Held,
    around_of,
    file_bytes_of,
    in_limit,
    least_uniform_bytes,
    offered,
    uniform,
)
from laconic.pipeline.proposal import Cut, Proposal
from laconic.pipeline.routes import MARGIN, SLIGHT, Route, Wanted, needs_prices
from laconic.select.menu import MASKS_PAY

KEEPS = (1.0, 0.75, 0.5, 0.35, 0.25, 0.15)
"""Fractions of the multiply-accumulates that are tried, besides the one that the budget names."""
SIZES = (1 / 6, 1 / 10, 1 / 16, 1 / 24, 1 / 36)
"""Fractions of the file that are tried where accuracy alone is limited."""
TOO_MUCH = 0.3
"""Nats that no short training takes back."""
DOUBT = 1.5
"""By how much a trial of a cut on few samples may exceed what it costs after a fit to all."""
STUDENT, MASKS = "a student: the same network, narrower and with fewer layers", "zeros among the weights"
SHARED = (
    "one tensor for several layers",
    "not priced: on ResNet-20 it lost 13.8 points for 14 % of the bytes, where codebooks lose 0.7 for 92 %",
)


def explore(bases: Bases, wanted: Wanted, ledger: Ledger | None = None) -> list[Route]:
    """Prices the ways to a budget.

    Fewer and fewer channels, or blocks, are tried until the limits can hold and less would only cost more. Where what
    they cost is more than training is sure to take back, and there is enough of it, one student is derived beside them.

    Args:
        bases: of the job.
        wanted: what the budget asks for.
        ledger: of a run that was killed; what it holds is not priced anew. None: an empty one.
    """
    ledger = ledger or Ledger()
    routes: list[Route] = []
    best = math.inf
    for keep in _keeps(wanted):
        found = list(_at(bases, wanted, ledger, keep, best, _cuts(keep, routes)))
        routes += found
        if all(route.nats is None for route in found):
            break  # What cannot be cut to this cannot be cut further.
        nats = _least(found, wanted)
        enough = nats > TOO_MUCH if wanted.anything else nats <= SLIGHT or math.inf > nats > best
        if enough:
            break
        best = math.inf if wanted.anything else min(best, nats)  # Smaller files may cost more, if they cost little.
    if all(route.nats is None for route in routes):  # What the budget asks for first cannot be: at least say what can.
        routes += _at(bases, wanted, ledger, 1.0, best, {"channels"})
    routes += _student(bases, wanted, ledger, routes)
    if needs_prices(bases.job.budget):
        _leave_out_forms(bases, ledger)
    return routes


def _cuts(keep: float, routes: Sequence[Route]) -> set[Cut]:
    """Returns what may make the network smaller, given what was found, such as whether there are blocks."""
    found: set[Cut] = {"channels"}
    if keep < 1 and all(route.macs for route in routes if route.proposal.cut == "blocks"):
        found.add("blocks")
    return found


def _least(routes: Iterable[Route], wanted: Wanted) -> float:
    """Returns the nats of the best way that should meet the budget."""
    return min((r.nats for r in routes if r.nats is not None and wanted.expects(r)), default=math.inf)


def _keeps(wanted: Wanted) -> list[float]:
    if not wanted.anything and wanted.memory is None and wanted.size == wanted.macs == wanted.latency == 1:
        return [1.0]
    return [wanted.macs, *(keep for keep in KEEPS if keep < wanted.macs)]


def _at(
    bases: Bases, wanted: Wanted, ledger: Ledger, keep: float, best: float, cuts: Collection[Cut]
) -> Iterator[Route]:
    """Yields the ways with one number of multiply-accumulates.

    Args:
        bases: of the job.
        wanted: what the budget asks for.
        ledger: what is known already.
        keep: the fraction of multiply-accumulates.
        best: nats of the best way so far that should meet the budget; what costs more before any weight is coded, is
            not looked into.
        cuts: what may make the network smaller.
    """
    cutters: tuple[Cut, ...] = ("channels", "blocks")
    for cut in cutters:
        if cut not in cuts:
            continue
        if cut == "blocks" and wanted.latency == 1:  # They save more time than as many products in channels, no more.
            best = min(best, ledger.nats(Proposal(keep=keep)))
        before = best
        for route in _noted(bases, wanted, ledger, Proposal(keep=keep, cut=cut), best):
            bases.job.progress.say(f"considered: {route}")
            best = best if wanted.anything else min(best, _least([route], wanted))
            yield route
        if not wanted.anything:
            bases.settle(keep, cut, best=best < before)


def _student(bases: Bases, wanted: Wanted, ledger: Ledger, routes: Sequence[Route]) -> Iterator[Route]:
    """Yields the ways with a student that is as small as the best of the smaller networks that should do."""
    smaller = [route for route in routes if route.proposal.keep < 1 and route.nats is not None]
    fitting = [route for route in smaller if wanted.expects(route)]
    if not fitting:
        return  # A student would be no smaller and no faster than what does not fit.
    if why := _no_student(bases, wanted, _least(routes, wanted)):
        ledger.leave_out(STUDENT, why)
        return
    keep = min(fitting, key=lambda route: route.nats or 0.0).proposal.keep
    for route in _noted(bases, wanted, ledger, Proposal(keep=keep, cut="student"), math.inf):
        bases.job.progress.say(f"considered: {route}")
        yield route


def _no_student(bases: Bases, wanted: Wanted, best: float) -> str:
    """Returns why no student is derived, with numbers; empty: one is."""
    if wanted.anything:
        return "not derived: where accuracy alone is limited, one would have to be taught for every size"
    if best <= BOLD:
        return f"not derived: another way costs {best:.2g} nats, and training takes back {BOLD} or more anyway"
    schooling = bases.schooling
    if schooling is None:
        why = "there is no training data" if bases.job.task.train is None else "none was asked for"
        return f"not derived: what it has lost only training brings back, and {why}"
    if schooling.steps < schooling.once:
        a_step = schooling.seconds / schooling.steps
        return (
            f"not derived: it needs a pass over the training data at least, {schooling.once:,} steps or about "
            f"{schooling.once * a_step:,.0f} s here; {schooling.steps:,} steps are allowed"
        )
    return ""


def _leave_out_forms(bases: Bases, ledger: Ledger) -> None:
    """Notes which forms of weights are not priced."""
    ledger.leave_out(*SHARED)
    share = share_of(bases.job.model, bases.job)
    if share > MASKS_PAY:
        ledger.leave_out(MASKS, f"not priced: {share:.3g} of the bytes may stay, and masks pay below {MASKS_PAY:.3g}")


def _noted(bases: Bases, wanted: Wanted, ledger: Ledger, cut: Proposal, best: float) -> Iterator[Route]:
    """Yields what `_with` does; the ledger knows it then, and how far the cut alone is from the original."""
    if (known := ledger.routes(cut)) is not None:
        yield from known
        return
    found = []
    for route in _with(bases, wanted, ledger, cut, best):
        found.append(route)
        yield route
    alone = 0.0 if cut.keep == 1 else bases.nats(cut.keep) if cut.cut == "channels" else math.inf
    ledger.finish(cut, found, alone)


def _with(bases: Bases, wanted: Wanted, ledger: Ledger, cut: Proposal, best: float) -> Iterator[Route]:
    """Yields the ways with one smaller network."""
    original_bytes = wanted.original_bytes
    try:
        base = bases.at(cut.keep, cut.cut, max(DOUBT * best, SLIGHT))
    except LaconicError as error:
        yield Route(proposal=cut, size_bytes=original_bytes, macs=0, nats=None, why=str(error))
        return
    overhead = original_bytes - module_bytes(bases.job.model)
    if cut.keep < 1 and base.nats > best:
        why, left = f"cutting {cut.cut} alone costs {base.nats:.2g} nats", module_bytes(base.model) + overhead
        yield Route(proposal=cut, size_bytes=left, macs=base.macs, nats=None, why=why)
        return
    uniform_ones = [replace(cut, activations=activations) for activations in (True, False)]
    if cut.keep < 1 and all(_is_too_large(bases, base, wanted, one) for one in uniform_ones):
        found = list(_shared_out(bases, base, wanted, ledger, cut, [wanted.size]))
        if any(route.nats is not None for route in found):
            yield from found
            return
    whole = [ledger.once(one, partial(_uniform, bases, base, wanted, one)) for one in uniform_ones]
    yield from whole
    smallest = min(route.size_bytes for route in whole)
    sizes = [size for size in (SIZES if wanted.anything else (wanted.size,)) if size * original_bytes < smallest]
    if not needs_prices(bases.job.budget):  # No size is asked for, even where 8 bits make a tiny file larger.
        return
    yield from _shared_out(bases, base, wanted, ledger, cut, sizes)


def _is_too_large(bases: Bases, base: Base, wanted: Wanted, proposal: Proposal) -> bool:
    """Whether 8-bit weights are sure to be too large, before they are made."""
    least = least_uniform_bytes(base.model) + _around(bases, base, wanted, proposal)
    return not wanted.anything and least > (1 + MARGIN) * wanted.size * wanted.original_bytes


def _shared_out(
    bases: Bases, base: Base, wanted: Wanted, ledger: Ledger, cut: Proposal, sizes: Sequence[float]
) -> Iterator[Route]:
    """Yields the ways with one smaller network in which every layer has a form of its own."""
    for activations in (True, False):
        for size in sizes:
            proposal = replace(cut, size=size, activations=activations)
            found = ledger.once(proposal, partial(_mixed, bases, base, wanted, proposal))
            yield found
            if found.nats is None:
                break  # Still smaller is not possible either.


def _uniform(bases: Bases, base: Base, wanted: Wanted, proposal: Proposal) -> Route:
    plan = uniform(base, activations=proposal.activations)
    network = apply(base.model, plan).eval()
    return Route(
        proposal=proposal,
        size_bytes=file_bytes_of(network, plan, _around(bases, base, wanted, proposal)),
        macs=base.macs,
        nats=bases.yardstick.nats(network),
        time=bases.time(base.plan + plan) if wanted.latency < 1 else None,
        memory=_memory(bases, base, wanted, proposal),
    )


def _around(bases: Bases, base: Base, wanted: Wanted, proposal: Proposal) -> int:
    """Returns what the file holds beside its tensors: measured where bytes are limited, fewer where layers are gone."""
    if not needs_prices(bases.job.budget):
        return max(0, wanted.original_bytes - module_bytes(bases.job.model))
    left, whole = (len(layers(model)) for model in (base.model, bases.job.model))
    return around_of(bases, activations=proposal.activations) * left // max(1, whole)


def _mixed(bases: Bases, base: Base, wanted: Wanted, proposal: Proposal) -> Route:
    assert proposal.size is not None
    prices, beside = offered(base, activations=proposal.activations), base.rounding if proposal.activations else Plan()
    limit = proposal.size * wanted.original_bytes
    held = Held.of(bases, base, prices, activations=proposal.activations)
    choice, size = in_limit(prices, limit, _around(bases, base, wanted, proposal), held)
    if size > limit:
        why = f"too large: the smallest form of every layer leaves {size:,} B"
        return Route(proposal=proposal, size_bytes=size, macs=base.macs, nats=None, why=why)
    plan = choice.plan + beside
    return Route(
        proposal=proposal,
        size_bytes=size,
        macs=round(choice.macs),
        nats=bases.yardstick.nats(apply(base.model, plan).eval()),
        time=bases.time(base.plan + plan) if wanted.latency < 1 else None,
        memory=None if held is None else held.taken.of(prices, choice),
    )


def _memory(bases: Bases, base: Base, wanted: Wanted, proposal: Proposal) -> float | None:
    left, whole = (module_bytes(model) for model in (base.model, bases.job.model))
    return wanted.memory_of(left, whole, integers=proposal.activations)
