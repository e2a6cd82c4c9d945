"""Vectors as combinations of few atoms."""

from __future__ import annotations

import torch
from torch import Tensor

PIECE = 2**15  # Vectors at a time.
RIDGE = 1e-10  # Of a system's diagonal: atoms that are the same count as one.


def pursue(vectors: Tensor, atoms: Tensor, nonzeros: int) -> tuple[Tensor, Tensor]:
    """Chooses atoms one by one, always the one most like what is left over, and fits all chosen ones anew.

    Args:
        vectors: finite, `[vectors, length]`.
        atoms: finite, `[atoms, length]`, of any length each.
        nonzeros: atoms of a vector, 1 to the number of atoms.

    Returns:
        Which atoms, int64 `[vectors, nonzeros]`, no two the same, and how much of each, float64, likewise.

    Guarantees:
        What is left over is orthogonal to the chosen atoms, up to rounding, and no longer than the vector.

    Reference:
        Pati, Rezaiifar and Krishnaprasad 1993 (orthogonal matching pursuit); Rubinstein, Zibulevsky and Elad 2008
        (many vectors at once, by the atoms' products).

    Example:
        >>> codes, amounts = pursue(torch.tensor([[3.0, 4.0]]), torch.eye(2), 1)
        >>> codes.tolist(), amounts.round(decimals=6).tolist()
        ([[1]], [[4.0]])
    """
    atoms = atoms.double()
    lengths = torch.linalg.vector_norm(atoms, dim=1, keepdim=True)
    lengths = torch.where(lengths > 0, lengths, 1.0)
    units = atoms / lengths
    found = [_pursued(part.double(), units, nonzeros) for part in torch.split(vectors, PIECE)]
    codes, amounts = (torch.cat(parts) for parts in zip(*found, strict=True))
    return codes, amounts / lengths[codes, 0]


def _pursued(vectors: Tensor, units: Tensor, nonzeros: int) -> tuple[Tensor, Tensor]:
    """Does it for atoms of length one (or zero)."""
    size = vectors.abs().amax(1, keepdim=True) if vectors.numel() else vectors.new_ones(len(vectors), 1)
    size = torch.where(size > 0, size, 1.0)
    products, alike = (vectors / size) @ units.mT, units @ units.mT
    codes = torch.empty(len(vectors), 0, dtype=torch.int64)
    amounts, left = products[:, :0], products
    for _ in range(nonzeros):
        free = left.abs().scatter(1, codes, -1.0)
        codes = torch.cat((codes, free.argmax(1, keepdim=True)), 1)
        system = alike[codes[:, :, None], codes[:, None, :]]
        system.diagonal(dim1=1, dim2=2).add_(RIDGE)
        amounts = torch.linalg.solve(system, products.gather(1, codes)[:, :, None])[:, :, 0]
        left = products - (amounts[:, None, :] @ alike[codes])[:, 0]
    return codes, amounts * size
