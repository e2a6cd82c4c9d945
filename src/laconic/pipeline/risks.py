"""What may spoil a compression, as far as data and evidence show it beforehand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import torch

from laconic.calibrate import Evidence, layers
from laconic.measure import wilson
from laconic.pipeline.job import Job
from laconic.pipeline.routes import Route

NAMED = 3
MUCH = 0.1
FEW_KEPT = 0.3


def risks(job: Job, evidence: Evidence, best: Route) -> Iterator[str]:
    """Yields what the user should know before relying on a way.

    Args:
        job: data, metric and budget.
        evidence: of the original.
        best: the way that is recommended.
    """
    yield from _data(job)
    yield from of_sizes(job.fixed)
    starved = [name for name, seen in evidence.layers.items() if int(seen.positions.min()) < seen.layer.matrix_shape[2]]
    if starved:
        yield (
            f"{len(starved)} layers have seen fewer samples than they have inputs ({_named(starved)}): give more "
            "calibration data."
        )
    known = {layer.parameter for layer in layers(job.model)}
    if unused := [name for name in evidence.unreached if name in known]:
        yield f"The data never used {_named(unused)}: nothing is known about them."
    if (best.nats or 0.0) > MUCH:
        yield "Without training the answers change visibly: do not use the result without recovery and evaluation."
    if best.proposal.keep < FEW_KEPT:
        what = "channels and layers" if best.proposal.cut == "student" else best.proposal.cut
        yield f"Few {what} stay: rare kinds of input may suffer more than the mean shows. Evaluate them apart."


def of_sizes(fixed: Mapping[str, str]) -> Iterator[str]:
    """Yields what to say of sizes that change in the data and that an exported model takes as one."""
    for name, why in fixed.items():
        yield f"The exported model takes one {name} only, that of the first evaluation batch: {why}"


def _data(job: Job) -> Iterator[str]:
    labels = [batch.labels for batch in job.task.batches("evaluate") if batch.labels is not None]
    if not labels:
        yield "The evaluation data has no labels: only the distance to the original can be measured."
        return
    if job.task.score.regression:
        return
    flat = torch.cat([part.flatten() for part in labels])
    if len(set(flat.tolist())) < 2:
        yield "All evaluation labels are the same: accuracy says next to nothing here."
    allowed, count = job.budget.allowed_drop, len(flat)
    blurred = wilson(round(0.95 * count), count)
    width = (blurred.high - blurred.low) / 2
    if allowed is not None and allowed < width:
        yield (
            f"{count:,} evaluation labels tell accuracies apart to about {100 * width:.1f} points; a limit of "
            f"{100 * allowed:.2g} points is finer than that, and chance decides part of the verdict."
        )


def _named(names: Iterable[str]) -> str:
    known = list(names)
    return ", ".join(known[:NAMED]) + (", ..." if len(known) > NAMED else "")
