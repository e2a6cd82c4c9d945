"""What every proposal starts from: the model, or a smaller one made of it, and what its weights may cost."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from torch import nn

from laconic.calibrate import Evidence, calibrate
from laconic.core.edit import Rewrite
from laconic.core.errors import LaconicError, ModelError
from laconic.core.plan import Plan
from laconic.core.target import Target
from laconic.distill import student
from laconic.export.onnxruntime.in_file import in_file
from laconic.graph import Graph, capture, costs
from laconic.measure import module_bytes
from laconic.pipeline.job import Job
from laconic.pipeline.lessons import Schooling
from laconic.pipeline.proposal import Cut
from laconic.pipeline.reading import Reading
from laconic.pipeline.routes import MARGIN, Wanted
from laconic.prune import Pruned, prune, remove_blocks
from laconic.prune.any_size import check_sizes
from laconic.quantize import RoundActivations, quantize
from laconic.select import PriceList, Yardstick, price
from laconic.select.latency import LatencyModel, latency_model
from laconic.select.menu import FOR_ONNX, MASKS_PAY, SPARSE_GRIDS, Technique

MEASURED_OFFERS, FEWER_OFFERS = 24, 12
"""Offers that set prices right, of the original and of a model that has been cut."""

UNFITTED = 15
"""How many times nearer to the original a fit brings a model without some of its blocks, at the most: 0.81 nats became
0.078 in a transformer of random weights."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Base:
    """The model with fewer channels or blocks, a student of it, or the model as it is.

    Args:
        job: what it is for.
        model: in eval mode.
        plan: what leads from the original to it.
        graph: its graph.
        gather: makes its evidence.
        yardstick: how far anything is from the original.
        reading: how much data is read.
    """

    job: Job
    model: nn.Module
    plan: Plan
    graph: Graph
    gather: Callable[[], Evidence]
    yardstick: Yardstick
    reading: Reading

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates of one sample."""
        return costs(self.graph).macs

    @cached_property
    def nats(self) -> float:
        """How far it is from the original, its weights not coded yet."""
        return self.yardstick.nats(self.model)

    @cached_property
    def evidence(self) -> Evidence:
        """One pass over the calibration data."""
        return self.gather()

    @cached_property
    def techniques(self) -> tuple[Technique, ...]:
        """What is priced: masked grids only where so few bytes are wanted that they pay."""
        return (*FOR_ONNX, *SPARSE_GRIDS) if share_of(self.model, self.job) <= MASKS_PAY else FOR_ONNX

    @cached_property
    def prices(self) -> PriceList:
        """What can be done to each layer, of all that the target stores in fewer bytes."""
        return price(
            self.model,
            self.job.task,
            techniques=self.techniques,
            evidence=self.evidence,
            measure=FEWER_OFFERS if len(self.plan) else MEASURED_OFFERS,
            samples=self.reading.offers,
            graph=self.graph,
            stored=lambda parameter, coding: in_file(parameter, coding).own,
            progress=self.job.progress.step,
        )

    @cached_property
    def eight_bits(self) -> Plan:
        """Every weight on a grid of 8 bits."""
        return quantize(self.model, self.job.task, bits=8, evidence=self.evidence, graph=self.graph)

    @cached_property
    def rounding(self) -> Plan:
        """Every activation on a grid of 8 bits, where integer kernels read and write it."""
        return Plan.of(RoundActivations().edits(self.model, self.graph, self.evidence))


@dataclass(eq=False)
class Bases:
    """All bases of one job, each made when it is first asked for.

    Args:
        job: what they are for.
        graph: of the original.
        evidence: of the original.
        reading: how much data is read.
        wanted: what the budget asks for; None: as much memory as it takes.
        around: what a file holds beyond its tensors, with and without rounded activations, where that was measured.
    """

    job: Job
    graph: Graph
    evidence: Evidence
    reading: Reading
    wanted: Wanted | None = None
    around: dict[bool, int] = field(default_factory=dict)
    _made: dict[tuple[float, Cut], Base | LaconicError] = field(default_factory=dict)

    @cached_property
    def yardstick(self) -> Yardstick:
        """How far anything is from the original."""
        return Yardstick.of(
            self.job.model, self.job.task, samples=self.reading.held_back, skip=self.reading.calibration
        )

    @cached_property
    def schooling(self) -> Schooling | None:
        """What an attempt may learn; None: nothing."""
        return Schooling.of(self.job) if self.job.recovers else None

    @cached_property
    def latency(self) -> LatencyModel | None:
        """Predicts how long a plan takes on the target; None where that cannot be measured."""
        try:
            return latency_model(self.job.model, self.job.task, target=self.job.target, graph=self.graph)
        except LaconicError:
            return None

    def time(self, plan: Plan) -> float | None:
        """Predicts the time of one inference over the original's."""
        return None if self.latency is None else self.latency.predict(plan).ratio

    def at(self, keep: float, cut: Cut = "channels", most: float = math.inf) -> Base:
        """Returns the model with a fraction of its multiply-accumulates.

        Args:
            keep: the fraction.
            cut: what goes.
            most: nats in a trial beyond which it is not worth making.

        Raises:
            LaconicError: nothing can be cut, or too much would be lost; says why.
        """
        wanted = (keep, "channels" if keep == 1 else cut)
        if wanted not in self._made:
            try:
                self._made[wanted] = self._whole() if keep == 1 else self._cut(keep, cut, most)
            except LaconicError as error:
                if most < math.inf:
                    raise  # Whoever allows more may get it.
                self._made[wanted] = error
        found = self._made[wanted]
        if isinstance(found, LaconicError):
            raise found
        return found

    def settle(self, keep: float, cut: Cut, *, best: bool) -> None:
        """Lets go of smaller networks, their evidence and prices, which take memory; `at` makes them again.

        Args:
            keep: of the one that was looked into last.
            cut: likewise.
            best: whether it is the best so far: then the others go, else it does.
        """
        for place, made in list(self._made.items()):
            if isinstance(made, Base) and place[0] < 1 and (place == (keep, cut)) != best:
                del self._made[place]

    def nats(self, keep: float) -> float:
        """Returns how far the model is from the original with fewer channels; infinitely, where it was not made."""
        found = self._made.get((keep, "channels"))
        return found.nats if isinstance(found, Base) else math.inf

    def _whole(self) -> Base:
        model = self.job.model
        return Base(
            job=self.job,
            model=model,
            plan=Plan(),
            graph=self.graph,
            gather=lambda: self.evidence,
            yardstick=self.yardstick,
            reading=self.reading,
        )

    def _cut(self, keep: float, cut: Cut, most: float) -> Base:
        job = self.job
        found = self._smaller(keep, cut, most)
        if found.kind == "graph" and not any(isinstance(edit, Rewrite) for edit in found.plan):
            raise ModelError(f"cutting {cut}: {' '.join(found.notes)}")
        model, example = found.model.eval(), job.example()
        check_sizes(model, job.model, self.graph.sizes, example)
        return Base(
            job=job,
            model=model,
            plan=found.plan,
            graph=capture(model, example.args, example.kwargs),
            gather=lambda: calibrate(model, job.task, samples=self.reading.calibration, seed=job.seed),
            yardstick=self.yardstick,
            reading=self.reading,
        )

    def _smaller(self, keep: float, cut: Cut, most: float) -> Pruned:
        match cut:
            case "channels":
                return self._fewer_channels(keep, most)
            case "blocks":
                return self._fewer_blocks(keep, most)
            case "student":
                return self._student(keep)

    def _fewer_channels(self, keep: float, most: float) -> Pruned:
        return prune(
            self.job.model,
            self.job.task,
            ratio=1 - keep,
            target=self.job.target,
            samples=self.reading.calibration,
            evidence=self.evidence if self.evidence.has_gradients else None,
            graph=self.graph,
            most=most,
        )

    def _fewer_blocks(self, keep: float, most: float) -> Pruned:
        job = self.job
        return remove_blocks(
            job.model,
            job.task,
            ratio=1 - keep,
            samples=self.reading.calibration,
            priced_on=self.reading.blocks,
            renumber=False,
            graph=self.graph,
            most=UNFITTED * most,
        )

    def _student(self, keep: float) -> Pruned:
        """Layers and widths save alike where there are layers to save on; else widths save all."""
        job = self.job

        def derived(depth: float, target: Target | None = job.target) -> Pruned:
            return student(job.model, job.task, macs=keep, depth=depth, target=target, samples=self.reading.calibration)

        depth = math.sqrt(keep)
        try:
            found = derived(depth)
        except ModelError:
            depth = 1.0
            found = derived(depth)
        # Widths that a runtime likes may come in too large steps.
        return found if found.macs_ratio <= (1 + MARGIN) * keep else derived(depth, None)


def share_of(model: nn.Module, job: Job) -> float:
    """Returns which share of a model's bytes may stay, about; 0: there is no limit, and less is always better."""
    limit = job.budget.limits.get("size")
    return 0.0 if limit is None else limit.bound(module_bytes(job.model)) / max(1, module_bytes(model))
