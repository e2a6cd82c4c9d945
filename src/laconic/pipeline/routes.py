"""The ways to a budget, each with what it is predicted to cost, before anything is trained or exported."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from laconic.core.apply import apply
from laconic.core.budget import Budget, Limit
from laconic.core.errors import LaconicError, invalid
from laconic.core.plan import Plan
from laconic.measure import module_bytes
from laconic.pipeline.bases import Base, Bases
from laconic.pipeline.planning import coded_bytes, offered, uniform
from laconic.pipeline.proposal import Proposal
from laconic.select import allocate
from laconic.select.front import least_bytes

KEEPS = (1.0, 0.75, 0.5, 0.35, 0.25, 0.15)
"""Fractions of the multiply-accumulates that are tried, besides the one that the budget names."""
SIZES = (1 / 6, 1 / 10, 1 / 16, 1 / 24, 1 / 36)
"""Fractions of the file that are tried where accuracy alone is limited."""
SLIGHT = 1e-3
"""Nats that are next to nothing: fewer of them are no reason to prefer a way, or to look for another."""
TOO_MUCH = 0.3
"""Nats that no short training takes back."""
MARGIN = 0.02
"""By how much the size of a file that is not written yet may be off."""
INTEGER_MEMORY, VAGUE = 0.45, 0.1
"""Memory of integer kernels beyond the runtime's own over that of float ones, and by how much such a guess is off."""


@dataclass(frozen=True, kw_only=True)
class Route:
    """One way, as far as it is known without training.

    Args:
        proposal: what would be done.
        size_bytes: of the file, about.
        macs: multiply-accumulates of one sample.
        nats: KL(original || changed) of the whole plan on held-back calibration data; None: it cannot be gone.
        time: of one inference over the original's, as predicted; None: time is not limited, or it was not predicted.
        memory: peak bytes of a process that runs it, about; None: memory is not limited.
        why: what stands in its way; empty: nothing.
    """

    proposal: Proposal
    size_bytes: int
    macs: int
    nats: float | None
    time: float | None = None
    memory: float | None = None
    why: str = ""

    def __str__(self) -> str:
        time = "" if self.time is None else f", {self.time:.2f} of the time"
        return f"{self.proposal}: {self.why or f'{self.nats:.2g} nats{time}'}"

    def config(self) -> dict[str, Any]:
        """Returns JSON values."""
        return {**asdict(self), "proposal": self.proposal.config()}

    @classmethod
    def of(cls, config: dict[str, Any]) -> Self:
        """Undoes `config`."""
        return cls(**{**config, "proposal": Proposal.of(config["proposal"])})


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A budget in fractions of the original's figures; 1 where there is no limit.

    Args:
        size: of the file.
        macs: multiply-accumulates.
        latency: of one inference.
        memory: peak bytes of a process that runs it; None: as many as it takes.
        anything: whether nothing but accuracy is limited, so that the smallest file that keeps it is looked for.
        original_bytes: of the original's file.
        original_macs: multiply-accumulates of one sample of the original.
        original_memory: peak bytes of a process that runs the original; 0 where memory is not limited.
        runtime_memory: peak bytes of the runtime without any model; 0 where memory is not limited.
    """

    size: float
    macs: float
    latency: float
    anything: bool
    original_bytes: int
    original_macs: int
    memory: float | None = None
    original_memory: int = 0
    runtime_memory: int = 0

    @classmethod
    def of(
        cls,
        budget: Budget,
        *,
        size_bytes: int,
        macs: int,
        latency_ms: float | None = None,
        memory_bytes: int = 0,
        runtime_memory: int = 0,
    ) -> Self:
        """Reads a budget, given the original's figures; an absolute latency needs the original's.

        Raises:
            UsageError: less memory is allowed than the runtime takes without any model.
        """
        limits = budget.limits

        def share(name: str, original: float | None) -> float:
            limit = limits.get(name)
            if limit is None or (original is None and not limit.relative):
                return 1.0
            return min(1.0, limit.bound(original or 0) / original if original else limit.value)

        return cls(
            size=share("size", size_bytes),
            macs=share("macs", macs),
            latency=share("latency", latency_ms),
            anything=budget.allowed_drop is not None and not limits,
            original_bytes=size_bytes,
            original_macs=macs,
            memory=_memory_bound(budget, memory_bytes, runtime_memory),
            original_memory=memory_bytes,
            runtime_memory=runtime_memory,
        )

    def allows(self, route: Route) -> bool:
        """Whether a way is small enough, as far as that is known before anything is exported."""
        small = route.size_bytes <= (1 + MARGIN) * self.size * self.original_bytes
        if self.memory is not None and route.memory is not None and route.memory > (1 + VAGUE) * self.memory:
            return False
        return small and route.macs <= (1 + MARGIN) * self.macs * self.original_macs

    def memory_of(self, left_bytes: int, whole_bytes: int, *, integers: bool) -> float | None:
        """Guesses the peak memory of a process: weights in fewer bits are unpacked for float kernels, so save nothing.

        Args:
            left_bytes: of the float weights that stay.
            whole_bytes: of all float weights of the original.
            integers: whether integer kernels run.
        """
        if self.memory is None:
            return None
        share = left_bytes / whole_bytes * (INTEGER_MEMORY if integers else 1.0)
        return self.runtime_memory + (self.original_memory - self.runtime_memory) * share

    def expects(self, route: Route) -> bool:
        """Whether a way should be small and fast enough."""
        time = route.proposal.keep if route.time is None else route.time
        return self.allows(route) and (self.latency == 1 or time <= self.latency)


def _memory_bound(budget: Budget, original: int, runtime: int) -> float | None:
    limit = budget.limits.get("memory")
    if limit is None:
        return None
    bound = limit.bound(original)
    if bound <= runtime:
        raise invalid(
            "Budget.memory", f"{bound:,.0f} B", f"more than {runtime:,} B", "The runtime takes that without any model."
        )
    return bound


def needs_prices(budget: Budget) -> bool:
    """Whether any route shares bytes out among techniques; the evidence then needs gradients."""
    return "size" in budget.limits or (budget.allowed_drop is not None and not budget.limits)


def explore(bases: Bases, wanted: Wanted) -> list[Route]:
    """Prices the ways to a budget.

    Fewer and fewer channels, or blocks, are tried until the limits can hold and less would only cost more.
    """
    routes: list[Route] = []
    best, stuck = math.inf, False
    for keep in _keeps(wanted):
        found = list(_at(bases, wanted, keep, best, blocks=keep < 1 and not stuck))
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
        routes += _at(bases, wanted, 1.0, best, blocks=False)
    return routes


def _least(routes: Iterable[Route], wanted: Wanted) -> float:
    """Returns the nats of the best way that should meet the budget."""
    return min((r.nats for r in routes if r.nats is not None and wanted.expects(r)), default=math.inf)


def _keeps(wanted: Wanted) -> list[float]:
    if not wanted.anything and wanted.memory is None and wanted.size == wanted.macs == wanted.latency == 1:
        return [1.0]
    return [wanted.macs, *(keep for keep in KEEPS if keep < wanted.macs)]


def _at(bases: Bases, wanted: Wanted, keep: float, best: float, *, blocks: bool) -> Iterator[Route]:
    """Yields the ways with one number of multiply-accumulates, with fewer channels and, if wished, with fewer blocks.

    Args:
        bases: of the job.
        wanted: what the budget asks for.
        keep: the fraction of multiply-accumulates.
        best: nats of the best way so far that should meet the budget; what costs more before any weight is coded, is
            not looked into.
        blocks: whether blocks may go.
    """
    for route in _with(bases, wanted, Proposal(keep=keep), best):
        bases.job.progress.say(f"considered: {route}")
        best = best if wanted.anything else min(best, _least([route], wanted))
        yield route
    if not blocks:
        return
    if wanted.latency == 1:  # Blocks save more time than as many products in channels, but nothing else.
        best = min(best, bases.nats(keep))
    for route in _with(bases, wanted, Proposal(keep=keep, blocks=True), best):
        bases.job.progress.say(f"considered: {route}")
        yield route


def _with(bases: Bases, wanted: Wanted, cut: Proposal, best: float) -> Iterator[Route]:
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
    whole = [_uniform(bases, base, wanted, replace(cut, activations=a), overhead) for a in (True, False)]
    yield from whole
    smallest = min(route.size_bytes for route in whole)
    sizes = [size for size in (SIZES if wanted.anything else (wanted.size,)) if size * original_bytes < smallest]
    for activations in (True, False):
        for size in sizes:
            proposal = replace(cut, size=size, activations=activations)
            found = _mixed(bases, base, wanted, proposal, overhead)
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
