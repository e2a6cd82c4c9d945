"""What holds between the samples of a batch."""

from __future__ import annotations

import torch
from torch import Tensor


def distances(rows: Tensor) -> Tensor:
    """Returns the Euclidean distance of each sample from each, `[samples, samples]`.

    Where two samples are the same, no gradient flows.
    """
    return torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")


def others(count: int, device: torch.device) -> Tensor:
    """Returns which entries of `[samples, samples]` are of two different samples, bool."""
    return ~torch.eye(count, dtype=torch.bool, device=device)


def mean_of_pairs(values: Tensor) -> Tensor:
    """Returns the mean of `[samples, samples]` off the diagonal; 0 for a single sample."""
    different = others(len(values), values.device)
    return values.where(different, 0).sum() / different.sum().clamp(min=1)
