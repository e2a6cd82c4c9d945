"""Words for vectors: k-means in which every element has a weight of its own."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

LLOYD_ROUNDS = 12
BINS = 512  # Into which numbers are gathered before their words are sought.


def number_words(values: Tensor, mass: Tensor, count: int) -> Tensor:
    """Returns the `count` numbers that are nearest to many, each by its mass: `sum mass (value - word)^2`.

    The best words for the numbers gathered into bins of equal mass are found exactly, by dynamic programming, and then
    moved to the means of what is nearest to them until nothing changes.

    Args:
        values: `[n]`, finite, at least one.
        mass: `[n]`, not negative.
        count: at least 1.

    Returns:
        float32 `[count]`, ascending; with fewer different values some words are repeated.

    Reference:
        Lloyd 1982; Wang and Song 2011 (k-means in one dimension by dynamic programming).

    Example:
        >>> number_words(torch.tensor([0.0, 0.1, 5.0, 5.1]), torch.ones(4), 2)
        tensor([0.0500, 5.0500])
    """
    ordered, order = values.double().sort()
    weights = mass.double()[order]
    if not weights.any():
        weights = torch.ones_like(weights)
    sums = [_running(weights * ordered**power) for power in range(3)]
    edges = _edges(sums[0])
    starts = _partition([s[edges] for s in sums], count)
    words = _means(sums, edges[starts])
    for _ in range(LLOYD_ROUNDS):
        cuts = torch.searchsorted(ordered, (words[1:] + words[:-1]) / 2)
        bounds = torch.cat((cuts.new_zeros(1), cuts, cuts.new_full((1,), len(ordered))))
        moved = torch.where(sums[0][bounds[1:]] > sums[0][bounds[:-1]], _means(sums, bounds), words)
        if torch.equal(moved, words):
            break
        words = moved.sort().values
    return words.float()


def vector_words(values: Tensor, mass: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Returns `count` words near to many vectors: `sum mass_j (value_j - word_j)^2`, by k-means from spread-out starts.

    Args:
        values: float32 `[n, length]`, at least one.
        mass: `[n, length]`, not negative, not all zero.
        count: at least 1.
        generator: draws the starts.

    Reference:
        Lloyd 1982; Arthur and Vassilvitskii 2007 (k-means++).
    """
    words = _spread_out(values, mass, count, generator)
    for _ in range(LLOYD_ROUNDS):
        costs = _costs(values, mass, words)
        nearest = costs.argmin(1)
        total = torch.zeros_like(words).index_add_(0, nearest, mass)
        means = torch.zeros_like(words).index_add_(0, nearest, mass * values) / total.clamp_min(1e-30)
        words = torch.where(total > 0, means, words)
        alone = torch.bincount(nearest, minlength=count) == 0
        if alone.any():
            # A word that nothing is nearest to takes the vector that is worst off.
            worst = costs.gather(1, nearest[:, None])[:, 0].topk(min(int(alone.sum()), len(values))).indices
            words[alone.nonzero()[: len(worst), 0]] = values[worst]
    return words


def _running(values: Tensor) -> Tensor:
    return torch.cat((values.new_zeros(1), values.cumsum(0)))


def _edges(mass: Tensor) -> Tensor:
    """Returns where bins of about equal mass begin, the end included: places in the ordered values, ascending."""
    size = len(mass) - 1
    if size <= BINS:
        return torch.arange(size + 1)
    cuts = torch.searchsorted(mass, torch.linspace(0, float(mass[-1]), BINS + 1, dtype=mass.dtype)[1:-1])
    edges = torch.cat((cuts.new_zeros(1), cuts, cuts.new_full((1,), size)))
    return edges[functional.pad(edges.diff() > 0, (1, 0), value=True)]


def _partition(sums: list[Tensor], count: int) -> Tensor:
    """Returns the first bins of the `count` runs of bins with the least squares around their means, and the end.

    Args:
        sums: running sums over bins of mass, mass times value and mass times value squared, `[bins + 1]`.
        count: of runs; more than there are bins leaves some empty.
    """
    mass, first, second = (s[None, :] - s[:, None] for s in sums)
    cost = (second - first.square() / mass.clamp_min(1e-300)).clamp_min(0)
    cost = cost.masked_fill(torch.ones_like(cost).tril(-1).bool(), torch.inf)  # [from, to]
    least, cuts = cost[0], []
    for _ in range(count - 1):
        least, cut = (least[:, None] + cost).min(0)
        cuts.append(cut)
    bounds = [len(mass) - 1]
    for cut in reversed(cuts):
        bounds.append(int(cut[bounds[-1]]))
    return torch.tensor([0, *reversed(bounds)])


def _means(sums: list[Tensor], bounds: Tensor) -> Tensor:
    """Returns the mean of each run; an empty one has that of the run before."""
    mass, total = (s[bounds[1:]] - s[bounds[:-1]] for s in sums[:2])
    means = total / mass
    for place in range(len(means)):
        if not mass[place] > 0:
            means[place] = means[place - 1] if place else (total.sum() / mass.sum())
    return means.sort().values


def _spread_out(values: Tensor, mass: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Returns vectors of which each was drawn the likelier the worse those before stand for it."""
    share, chosen = mass.sum(1).double(), []
    least = torch.full_like(share, torch.inf)
    for _ in range(count):
        if not share.sum() > 0:
            share = torch.ones_like(share)
        chosen.append(torch.multinomial(share, 1, generator=generator))
        gaps = (mass * (values - values[chosen[-1]]).square()).sum(1).double()
        least = share = torch.minimum(least, gaps)
    return values[torch.cat(chosen)].clone()


def _costs(values: Tensor, mass: Tensor, words: Tensor) -> Tensor:
    """Returns `sum_j mass_j (value_j - word_j)^2` of every vector and word, `[n, count]`."""
    crossed = (mass * values) @ words.mT
    whole = (mass * values.square()).sum(1, keepdim=True)
    return (whole - 2 * crossed).addmm_(mass, words.square().mT).clamp_min_(0)
