"""Which weights stay when the others go, and what those that stay become."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from laconic.solve.blockwise import diagonal_blocks
from laconic.solve.metric import InputMetric

# (scores [groups, outputs, inputs from some place on], columns that are decided now) -> kept, bool, of those columns
Choose = Callable[[Tensor, int], Tensor]
# scores [groups, outputs, inputs] -> kept, bool
Keep = Callable[[Tensor], Tensor]

EVERY = 3  # Steps between two looks at what is kept.
STIFFER = ((0.1, 1.3), (0.005, 1.2), (0.0, 1.1))  # Share of places that changed -> growth of the penalty.


def prune_in_order(
    weight: Tensor, metric: InputMetric, choose: Choose, *, width: int, unit: int = 1
) -> tuple[Tensor, Tensor]:
    """Prunes inputs in turn, some columns at a time; those still to come make up for what goes as well as they can.

    A weight's score is what its removal costs once all later ones have made up for it, `w^2 R_jj^2`. Scores of weights
    that go together, `|w R|^2` with `R` cut down to their columns, sum to what the removal of all of them costs.

    Args:
        weight: float32 `[groups, inputs, outputs]`, arranged by the metric.
        metric: of the layer.
        choose: sees the scores of all that is undecided and says what stays of the next columns.
        width: columns that are decided at once, a multiple of `unit`.
        unit: columns that go together, side by side from the first on.

    Returns:
        The weights, zero where pruned, and which are kept, both arranged.

    Reference:
        Hassibi and Stork 1992; Frantar and Alistarh 2023, arXiv:2301.00774.
    """
    wanted, kept = weight.clone(), torch.zeros_like(weight, dtype=torch.bool)
    roots = _together(metric, unit)
    inputs = weight.shape[1]
    for start in range(0, inputs, width):
        stop = min(start + width, inputs)
        rest = functional.pad(wanted[:, start:], (0, 0, 0, -inputs % unit))
        rest = rest.view(len(rest), -1, unit, rest.shape[2])
        felt = (roots[:, start // unit :] @ rest).flatten(1, 2)[:, : inputs - start]
        kept[:, start:stop] = choose(felt.square().mT, stop - start).mT
        for place in range(start, stop):
            wanted[:, place] *= kept[:, place]
            error = weight[:, place] - wanted[:, place]
            wanted[:, place + 1 : stop] += metric.ahead[:, place, place + 1 : stop, None] * error[:, None]
        block = weight[:, start:stop] - wanted[:, start:stop]
        wanted[:, stop:] += metric.ahead[:, start:stop, stop:].mT @ block
    return wanted, kept


def _together(metric: InputMetric, unit: int) -> Tensor:
    """Returns the diagonal blocks of `R^T`, `[groups, units, unit, unit]`; a last one that is cut off is filled up."""
    roots = metric.alone.sqrt()
    if unit == 1:
        return roots[:, :, None, None]
    spare = -roots.shape[1] % unit
    roots = functional.pad(roots, (0, spare), value=1.0).view(len(roots), -1, unit)
    ahead = diagonal_blocks(functional.pad(metric.ahead, (0, spare, 0, spare)), unit)
    return roots[..., None] * (ahead.mT + torch.eye(unit))


def alternate(weight: Tensor, moment: Tensor, keep: Keep, *, rounds: int = 300) -> Tensor:
    """Looks for the places to keep by the alternating direction method of multipliers.

    One copy of the weights answers for the error `tr(E H E^T)`, the other one for the pattern; a penalty on their
    difference grows until they agree on which places are kept. One eigendecomposition serves all steps.

    Args:
        weight: float32 `[groups, inputs, outputs]`.
        moment: `H`, float32 `[groups, inputs, inputs]`, positive definite.
        keep: the pattern: what stays, by scores.
        rounds: at most so many steps.

    Returns:
        Which are kept, bool, like the weight.

    Reference:
        Boyd et al. 2011; Meng et al. 2024, arXiv:2406.07831 (for weights of networks, with this growth of the penalty).
    """
    unit = moment.diagonal(dim1=1, dim2=2).sqrt()
    values, vectors = torch.linalg.eigh(moment / (unit[:, :, None] * unit[:, None, :]))
    target = weight * unit[:, :, None]
    turned = values[:, :, None] * (vectors.mT @ target)

    def places(x: Tensor) -> Tensor:
        return keep(x.square().mT).mT

    penalty, dual = 0.1, torch.zeros_like(target)
    kept = places(target)
    sparse, before = target * kept, kept
    for step in range(1, rounds + 1):
        mixed = vectors.mT @ (penalty * sparse - dual)
        free = vectors @ ((turned + mixed) / (values[:, :, None] + penalty))
        kept = places(free + dual / penalty)
        sparse = (free + dual / penalty) * kept
        dual = dual + penalty * (free - sparse)
        if step % EVERY == 0:
            changed = float((kept != before).sum()) / max(1, int(kept.sum()))
            if changed == 0:
                break
            penalty *= next(growth for share, growth in STIFFER if changed >= share)
            before = kept
    return kept
