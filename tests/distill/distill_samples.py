import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from laconic.distill import DistillationLoss, FeatureLoss, Lesson, Pair


def randn(*shape: int, seed: int = 0, scale: float = 3.0) -> Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def terms(loss: DistillationLoss, student: Any, teacher: Any, labels: Any = None) -> dict[str, float]:
    """The terms of rows given as lists or tensors, as numbers."""
    tensors = (torch.as_tensor(x) for x in (student, teacher))
    ours, theirs = (x if x.is_floating_point() else x.float() for x in tensors)
    lesson = Lesson(student=ours, teacher=theirs, labels=None if labels is None else torch.as_tensor(labels))
    return {name: term.item() for name, term in loss.terms(lesson).items()}


def softmax(row: list[float], temperature: float = 1.0) -> list[float]:
    raised = [math.exp(z / temperature) for z in row]
    return [r / sum(raised) for r in raised]


def kl(p: list[float], q: list[float]) -> float:
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def mean_over_rows(f: Callable[..., float], *tensors: Tensor) -> float:
    rows = list(zip(*(t.double().tolist() for t in tensors), strict=True))
    return sum(f(*row) for row in rows) / len(rows)


def distance(loss: FeatureLoss, student: Any, teacher: Any, mask: Any = None) -> float:
    """The distance of features given as lists or tensors, as a number."""
    ours, theirs = (torch.as_tensor(x, dtype=torch.float64) for x in (student, teacher))
    return loss.distance(Pair(student=ours, teacher=theirs, mask=None if mask is None else torch.tensor(mask))).item()


def rotation(size: int, seed: int = 0) -> Tensor:
    """An orthogonal matrix, in float64."""
    return torch.linalg.qr(randn(size, size, seed=seed).double())[0]
