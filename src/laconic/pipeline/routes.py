"""A way to a budget with what it is predicted to cost, and what a budget asks for."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Self

from laconic.core.budget import Budget
from laconic.core.errors import invalid
from laconic.pipeline.proposal import Proposal
from laconic.select.memory import INTEGER_SHARE

SLIGHT = 1e-3
"""Nats that are next to nothing: fewer of them are no reason to prefer a way, or to look for another."""
MARGIN = 0.02
"""By how much the size of a file that is not written yet may be off."""
VAGUE = 0.1
"""By how much a guess of peak memory is off."""


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
        share = left_bytes / whole_bytes * (INTEGER_SHARE if integers else 1.0)
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
