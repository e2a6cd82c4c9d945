"""Which of several rankings serves best, tried out on a part of the data."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from laconic.core.errors import ModelError
from laconic.core.task import Task
from laconic.graph.axes import Axes
from laconic.graph.example import fitting
from laconic.prune.cutting import proven
from laconic.prune.depth_prices import Prices, batches_of
from laconic.prune.nearness import comparable
from laconic.prune.ranking import Ranked
from laconic.prune.refit import refit
from laconic.prune.smaller import fill

TRIED = 512
"""Samples: what remains is fitted to the first half, and judged on the other."""


def nearest(
    found: Axes,
    ranked: Sequence[Ranked],
    ratio: float,
    task: Task,
    *,
    weights: bool | None,
    samples: int = TRIED,
    most: float = math.inf,
) -> tuple[Ranked, str]:
    """Returns the ranking whose result answers most like the original, and how they came out, in words.

    Each result is fitted to half of a few calibration batches and judged on the others; on the same, if there is one.

    Args:
        found: the analysis of the original.
        ranked: what comes into question.
        ratio: what was to be saved; rankings that miss it by far are not tried.
        task: its calibration data is read, without labels.
        weights: as in `refit`; None: nothing is fitted.
        samples: at most so many are read.
        most: as in `prune`.

    Raises:
        ModelError: the nearest is farther away than `most`, as tried.
        UnprovenError: one of them cannot be proven to be right.
    """
    tried = comparable(ranked, [one.saved for one in ranked], ratio)
    if len(tried) == 1:
        return tried[0], ""
    device = next((p.device for p in found.graph.parameters.values()), torch.device("cpu"))
    batches = fitting(found.graph, batches_of(task, device, min(samples, TRIED)))
    half = (len(batches) + 1) // 2
    inputs = [(batch.args, batch.kwargs) for batch in batches[:half]]
    prices = Prices(found.graph, task, batches[half:] or batches)
    nats = []
    for one in tried:
        smaller, _ = proven(found, one.kept, *inputs[0])
        if weights is not None:
            fill(smaller, refit(found, one.kept, inputs, weights=weights))
        nats.append(prices.of_model(smaller))
    best = min(range(len(tried)), key=nats.__getitem__)
    if nats[best] > most:
        raise ModelError(f"cutting {ratio:.0%} costs about {nats[best]:.2g} nats, after a trial on few samples.")
    shown = ", ".join(f"{price:.3g} nats by {one.ranking}" for one, price in zip(tried, nats, strict=True))
    return tried[best], f"ranked by {tried[best].ranking}: in a trial on few samples it came nearest ({shown})."
