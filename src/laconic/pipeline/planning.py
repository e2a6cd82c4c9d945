"""A proposal made into a plan whose file has the size that was asked for."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from torch import nn

from laconic.core.apply import apply
from laconic.core.budget import Budget, Limit
from laconic.core.edit import RoundActivation
from laconic.core.errors import LaconicError, UsageError
from laconic.core.plan import Plan
from laconic.export.onnxruntime import export
from laconic.export.onnxruntime.in_file import together
from laconic.graph import capture, costs
from laconic.measure import module_bytes
from laconic.pipeline.bases import Base, Bases
from laconic.pipeline.job import Job
from laconic.pipeline.proposal import Proposal
from laconic.pipeline.routes import VAGUE
from laconic.select import Choice, PriceList, allocate, carried_out, refine
from laconic.select.front import least_bytes
from laconic.select.memory import Memory, peak_memory_of
from laconic.select.menu import GRIDS, SPARSE_GRIDS

FITS, SLACK, ROUNDS = 4, 0.03, 4
"""How often a size is corrected, which share of it may stay unused, and how many whole plans are tried beside it."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one part of a plan did.

    Args:
        words: what was done.
        nats: KL(original || model so far) on held-back calibration data.
        size_bytes: of all weights and buffers so far, coded.
        macs: multiply-accumulates of one sample so far.
    """

    words: str
    nats: float
    size_bytes: int
    macs: int


def planned(job: Job, bases: Bases, proposal: Proposal, original_bytes: int) -> tuple[Plan, list[Step]]:
    """Makes a proposal's plan, without training.

    Args:
        job: what it is for.
        bases: of the same job.
        proposal: what to do.
        original_bytes: size of the original's file, of which the proposal allows a fraction.

    Returns:
        The plan, and what each of its parts did.
    """
    base = bases.at(proposal.keep, proposal.cut)
    if proposal.size is None:
        inner = uniform(base, activations=proposal.activations)
    else:
        inner = _mixed(base, bases, proposal, proposal.size * original_bytes)
    return (job.first + base.plan + inner).without_overwritten(), list(_steps(bases, proposal, base, inner))


def uniform(base: Base, *, activations: bool) -> Plan:
    """Returns 8 bits for every weight, and if wished every activation."""
    return base.eight_bits + base.rounding if activations else base.eight_bits


def offered(base: Base, *, activations: bool) -> PriceList:
    """Returns the offers that go together with integer kernels, or all."""
    return base.prices.among((*GRIDS, *SPARSE_GRIDS)) if activations else base.prices


def coded_bytes(network: nn.Module, plan: Plan) -> int:
    """Returns the bytes of all tensors, coded where the plan codes them."""
    return _others(network, plan) + sum(edit.coding.size_bytes for edit in plan.recodes)


def file_bytes_of(network: nn.Module, plan: Plan, around: int) -> int:
    """Forecasts the size of a file.

    Args:
        network: under the plan.
        plan: codes its weights.
        around: of `around_of` for the same kind of activations.
    """
    return around + _others(network, plan) + together(plan.recodes).total


def least_uniform_bytes(network: nn.Module) -> int:
    """Returns the fewest bytes that a model's tensors take with every weight in 8 bits, scales not counted."""
    tensors = (*network.parameters(), *network.buffers())
    return sum(tensor.numel() * (1 if tensor.dim() > 1 else tensor.element_size()) for tensor in tensors)


def around_of(bases: Bases, *, activations: bool) -> int:
    """Returns what a file holds beyond tensors and what decodes them, as measured: operators, names, roundings.

    The original is exported with all its weights in 8 bits. A batch normalisation that goes into the layer before it
    makes this smaller, and so it may be negative.
    """
    if activations not in bases.around:
        base = bases.at(1.0)
        plan = uniform(base, activations=activations)
        network = apply(base.model, plan).eval()
        bases.around[activations] = _exported(bases.job, network, plan) - file_bytes_of(network, plan, 0)
    return bases.around[activations]


@dataclass(frozen=True, kw_only=True)
class Held:
    """A limit of memory.

    Args:
        limit: bytes of a process's peak.
        taken: of these, by each offer.
    """

    limit: float
    taken: Memory

    @classmethod
    def of(cls, bases: Bases, base: Base, prices: PriceList, *, activations: bool) -> Self | None:
        """Returns the limit of peak memory; None where there is none."""
        wanted = bases.wanted
        if wanted is None or wanted.memory is None:
            return None
        left, whole = module_bytes(base.model), module_bytes(bases.job.model)
        peak = wanted.memory_of(left, whole, integers=False) or 0.0
        runtime = wanted.runtime_memory
        taken = peak_memory_of(prices, original_bytes=peak, runtime_bytes=runtime, integers=activations)
        return cls(limit=(1 + VAGUE) * wanted.memory, taken=taken)


def in_limit(prices: PriceList, limit: float, around: int, held: Held | None = None) -> tuple[Choice, int]:
    """Returns the choice whose file should be as large as it may be, and the forecast of its size.

    Args:
        prices: with bytes as they are in a file.
        limit: of the file; where nothing is as small, the choice is the smallest.
        around: of `around_of`.
        held: limits memory too, as far as both limits can be met.
    """
    least, bound = least_bytes(prices), limit - around
    while True:
        choice = _allocated(prices, min(max(bound, least), prices.size_bytes), held)
        size = choice.size_bytes + around + sum(together(choice.plan.recodes).shared.values())
        if size <= limit or bound <= least:
            return choice, size
        bound = choice.size_bytes + limit - size


def _others(network: nn.Module, plan: Plan) -> int:
    coded = {edit.parameter for edit in plan.recodes}
    held = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    return sum(tensor.nbytes for name, tensor in held.items() if name not in coded)


def _mixed(base: Base, bases: Bases, proposal: Proposal, limit: float) -> Plan:
    job, prices = base.job, offered(base, activations=proposal.activations)
    beside = base.rounding if proposal.activations else Plan()
    around = around_of(bases, activations=proposal.activations)
    held = Held.of(bases, base, prices, activations=proposal.activations)
    first = in_limit(prices, limit, around, held)[0].size_bytes
    size = _fitted(job, base.model, prices, beside, limit, first, held)
    bound, taken = _together(prices, size, held)
    found = refine(
        base.model, prices, bound, bases.yardstick, beside=beside, memory=taken, rounds=ROUNDS, seed=job.seed
    )
    at_once = found.choice.plan + beside
    try:
        in_order = carried_out(base.model, job.task, found.choice, beside=beside, samples=bases.reading.calibration)
    except LaconicError:  # Its layers have no order that all data share.
        return at_once
    nats = bases.yardstick.nats(apply(base.model, in_order).eval())
    return in_order if nats <= found.nats else at_once


def _fitted(
    job: Job,
    model: nn.Module,
    prices: PriceList,
    beside: Plan,
    limit: float,
    first: float,
    held: Held | None = None,
) -> int:
    """Returns the bytes of weights that lead to a file of the size that was asked for, or to the smallest there is.

    A file holds more than weights, and how much depends on how each is stored: the size is measured and set right,
    from a first guess on.
    """
    least = least_bytes(prices)
    best, wanted, seen = least, first, set[int]()
    for _ in range(FITS):
        choice = _allocated(prices, min(max(wanted, least), prices.size_bytes), held)
        size = _file_size(job, model, choice, beside)
        if size <= limit:
            best = max(best, choice.size_bytes)
        if (1 - SLACK) * limit <= size <= limit or choice.size_bytes in seen:
            break
        seen.add(choice.size_bytes)
        wanted = choice.size_bytes + limit - size  # A choice is smaller than its bound: the next has to differ from it.
    return best


def _allocated(prices: PriceList, bytes_: float, held: Held | None = None) -> Choice:
    budget, taken = _together(prices, bytes_, held)
    return allocate(prices, budget, memory=taken)


def _together(prices: PriceList, bytes_: float, held: Held | None) -> tuple[Budget, Memory | None]:
    """Returns the limits of bytes and of memory; of bytes alone where both cannot be met."""
    size = Limit(bytes_, relative=False)
    if held is not None:
        both = Budget(size=size, memory=Limit(held.limit, relative=False))
        with suppress(UsageError):
            allocate(prices, both, memory=held.taken)
            return both, held.taken
    return Budget(size=size), None


def _file_size(job: Job, model: nn.Module, choice: Choice, beside: Plan) -> int:
    plan = choice.plan + beside
    return _exported(job, apply(model, plan).eval(), plan)


def _exported(job: Job, network: nn.Module, plan: Plan) -> int:
    """Returns the bytes of a file that is written for that alone."""
    with tempfile.TemporaryDirectory(prefix="laconic-") as folder:
        return export(network, plan, job.task, job.example(), Path(folder) / "size.onnx").size_bytes


def _steps(bases: Bases, proposal: Proposal, base: Base, inner: Plan) -> Iterator[Step]:
    """Yields each part of a plan with all before it carried out."""
    weights = Plan.of(edit for edit in inner if not isinstance(edit, RoundActivation))
    if proposal.keep != 1:
        what = "student derived" if proposal.cut == "student" else f"whole {proposal.cut} cut"
        yield _step(bases, f"{what}, {proposal.keep:.0%} of the MACs asked for", base, Plan())
    words = "weights in 8 bits" if proposal.size is None else "weights coded, each layer as it is cheapest"
    yield _step(bases, words, base, weights)
    if proposal.activations:
        yield _step(bases, "activations rounded to 8 bits", base, inner)


def _step(bases: Bases, words: str, base: Base, inner: Plan) -> Step:
    network, example = apply(base.model, inner).eval(), bases.job.example()
    macs = costs(capture(network, example.args, example.kwargs)).macs if len(inner) else base.macs
    return Step(
        words=words,
        nats=bases.yardstick.nats(network),
        size_bytes=coded_bytes(network, inner),
        macs=macs,
    )
