"""Dictionaries learnt from vectors that each take few of their atoms."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from laconic.core.pursuit import pursue

MOST = 2**14  # Vectors of which atoms are learnt.
RIDGE = 1e-6


def learnt_atoms(
    vectors: Tensor, mass: Tensor, moment: Tensor, *, atoms: int, nonzeros: int, rounds: int, seed: int
) -> Tensor:
    """Returns atoms of which few make up each vector, by choosing amounts and refitting atoms in turn (MOD).

    Args:
        vectors: finite, `[vectors, length]`.
        mass: how much each counts, `[vectors]`, not negative.
        moment: the metric `|x|^2 = x M x^T` of an error, positive definite, `[length, length]`.
        atoms: how many.
        nonzeros: of a vector.
        rounds: of refitting.
        seed: of which vectors come first.

    Returns:
        float64 `[atoms, length]`, each of length one.

    Guarantees:
        More rounds leave no more of the vectors over, up to rounding.

    Reference:
        Engan, Aase and Husoy 1999 (method of optimal directions).
    """
    generator = torch.Generator().manual_seed(seed)
    factor = torch.linalg.cholesky(moment.double())
    chosen = torch.randperm(len(vectors), generator=generator)[:MOST]
    white, mass = vectors.double()[chosen] @ factor, mass.double()[chosen]
    found = best = _first(white, mass, atoms, generator)
    least = torch.inf
    for turn in range(rounds + 1):
        codes, amounts = pursue(white, found, nonzeros)
        full = torch.zeros(len(white), atoms, dtype=torch.float64).scatter_(1, codes, amounts)
        left = (white - full @ found).square().sum(1) * mass
        if float(left.sum()) < least:
            best, least = found, float(left.sum())
        if turn < rounds:
            found = functional.normalize(_refitted(white, mass, full, left))
    back: Tensor = torch.linalg.solve_triangular(factor, best, upper=False, left=False)
    return functional.normalize(back)


def _first(white: Tensor, mass: Tensor, atoms: int, generator: torch.Generator) -> Tensor:
    """Draws vectors by what the atoms drawn before leave of them, and at random when nothing is left.

    Reference:
        Arthur and Vassilvitskii 2007 (k-means++), for directions.
    """
    found = torch.randn(atoms, white.shape[1], generator=generator, dtype=torch.float64)
    found = functional.normalize(found)
    whole = white.square().sum(1)
    left = whole
    for atom in found:
        chance = torch.where(left > 1e-9 * whole, left * mass, 0.0)
        if not float(chance.sum()) > 0:
            break
        atom.copy_(functional.normalize(white[torch.multinomial(chance, 1, generator=generator)[0]], dim=0))
        left = torch.minimum(left, whole - (white @ atom).square())
    return found


def _refitted(white: Tensor, mass: Tensor, full: Tensor, left: Tensor) -> Tensor:
    """Returns the atoms that fit given amounts best; those that no vector takes become the vectors worst off."""
    weighed = full * mass[:, None]
    system, used = full.mT @ weighed, (full.abs() * mass[:, None]).sum(0) > 0
    system.diagonal().add_(RIDGE * system.diagonal().mean() + 1e-30)
    fitted: Tensor = torch.linalg.solve(system, weighed.mT @ white)
    idle = (~used).nonzero()[:, 0]
    worst = left.argsort(descending=True, stable=True)[: len(idle)]
    fitted[idle[: len(worst)]] = white[worst]
    return fitted
