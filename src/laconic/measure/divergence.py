"""How far a model has moved from another: KL divergence, top-1 agreement, element-wise errors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor
from torch.nn import functional

from laconic.core.errors import ModelError
from laconic.measure.answers import Answer, pairs
from laconic.measure.intervals import Interval, Tally
from laconic.measure.record import RECORD

_CHUNK_ELEMENTS = 2**22  # 32 MiB of float64: a batch of a language model's logits is taken in pieces


@dataclass(frozen=True, kw_only=True, config=RECORD)
class Divergence:
    """How far a compressed model's answers are from the original's; intervals are 95 %.

    Args:
        kl_nats: mean KL(original || compressed) a prediction, in nats; None for regression.
        kl_interval: of that mean.
        top1_agreement: fraction of predictions with the same largest logit; None for regression.
        top1_interval: of that fraction.
        relative_error: root mean square error over the standard deviation of the original's outputs; None for
            classification, or where the original's outputs are all equal.
        predictions: how many predictions (for regression: output values) were compared.
    """

    kl_nats: float | None = None
    kl_interval: Interval | None = None
    top1_agreement: float | None = None
    top1_interval: Interval | None = None
    relative_error: float | None = None
    predictions: int


@dataclass(frozen=True, kw_only=True, config=RECORD)
class Agreement:
    """Element by element, how well an exported artifact reproduces its PyTorch model.

    Args:
        max_abs_error: largest absolute difference of two outputs.
        mean_abs_error: mean absolute difference.
        relative_error: root mean square difference over the standard deviation of the PyTorch model's outputs, so
            that a wrong global scale shows; None where those are all equal.
        top1: fraction of predictions with the same largest logit; None for regression.
        outputs: number of output values compared.
    """

    max_abs_error: float
    mean_abs_error: float
    relative_error: float | None
    top1: float | None
    outputs: int


def kl_divergence(reference: Tensor, candidate: Tensor) -> Tensor:
    """KL(softmax(reference) || softmax(candidate)) over the last dimension.

    Args:
        reference: logits `[..., classes]`; -inf marks an impossible class.
        candidate: logits of the same shape.

    Returns:
        Nats, float64 `[...]`.

    Guarantees:
        Never negative; exactly zero for equal logits.
        Adding a constant to all logits of a prediction changes nothing beyond rounding.

    Example:
        >>> round(kl_divergence(torch.tensor([0.0, 0.0]), torch.tensor([0.0, 1.0986123])).item(), 4)  # ln 3
        0.1438
    """
    log_p, log_q = (functional.log_softmax(logits.double(), -1) for logits in (reference, candidate))
    terms = log_p.exp() * (log_p - log_q)
    return terms.masked_fill(log_p == -torch.inf, 0.0).sum(-1).clamp_min(0.0)


def compare(reference: Iterable[Answer], candidate: Iterable[Answer], *, regression: bool = False) -> Divergence:
    """Compares a compressed model's answers with the original's; positions whose label is -100 are left out.

    Args:
        reference: the original's `answers`.
        candidate: the compressed model's, to the same batches. Both stream: one batch is in memory at a time.
        regression: the outputs are values, not logits of classes.

    Raises:
        DataError: the two saw different batches, or their outputs have different shapes.
        ModelError: the compressed model excludes an answer that the original allows.
    """
    if regression:
        errors = _Errors()
        for original, changed in pairs(reference, candidate):
            errors.add(original.logits, changed.logits)
        return Divergence(relative_error=errors.relative, predictions=errors.count)
    kl, same = Tally(), Tally()
    for original, changed in pairs(reference, candidate):
        scores = _compared(original, changed)
        kl.add(scores[0], samples=len(original.logits))
        same.add(scores[1], samples=len(original.logits))
    if not math.isfinite(kl.mean):
        raise ModelError(
            "compare: KL to the original is not finite; expected every class that the original holds possible to keep "
            "a finite logit. Check the compressed model's number format."
        )
    return Divergence(
        kl_nats=kl.mean,
        kl_interval=kl.interval(),
        top1_agreement=same.mean,
        top1_interval=same.interval(),
        predictions=kl.predictions,
    )


def agreement(reference: Iterable[Answer], candidate: Iterable[Answer], *, regression: bool = False) -> Agreement:
    """Compares an exported artifact with the PyTorch model that it was made from, element by element.

    Args:
        reference: the PyTorch model's `answers`.
        candidate: the artifact's, to the same batches.
        regression: the outputs are values, not logits of classes.

    Raises:
        DataError: the two saw different batches, or their outputs have different shapes.
        ModelError: one has an infinite output where the other has not.
    """
    errors, same = _Errors(), Tally()
    for original, changed in pairs(reference, candidate):
        errors.add(original.logits, changed.logits)
        if not regression:
            same.add(_same_class(original.predictions(), changed.predictions()), samples=len(original.logits))
    return Agreement(
        max_abs_error=errors.largest,
        mean_abs_error=errors.mean,
        relative_error=errors.relative,
        top1=None if regression else same.mean,
        outputs=errors.count,
    )


def _same_class(reference: Tensor, candidate: Tensor) -> Tensor:
    return (reference.argmax(-1) == candidate.argmax(-1)).double()


def _compared(original: Answer, changed: Answer) -> Tensor:
    """KL and top-1 agreement of each prediction, float64 `[2, ...]`, NaN where the label is -100."""
    counted = original.counted()
    chunks = [torch.stack((kl_divergence(p, q), _same_class(p, q))) for p, q in _chunks(original, changed)]
    scores = torch.cat(chunks, dim=1).reshape(2, *counted.shape)
    return scores.masked_fill(~counted, torch.nan)


def _chunks(original: Answer, changed: Answer) -> Iterator[tuple[Tensor, Tensor]]:
    p, q = (answer.predictions().flatten(0, -2) for answer in (original, changed))
    rows = max(1, _CHUNK_ELEMENTS // p.shape[-1])
    return zip(torch.split(p, rows), torch.split(q, rows), strict=True)


class _Errors:
    """Streams element-wise errors and the spread of the reference, in float64."""

    def __init__(self) -> None:
        self.count = 0
        self.largest = 0.0
        self._absolute = self._squared = 0.0
        self._origin: float | None = None
        self._sum = self._sum_of_squares = 0.0

    def add(self, reference: Tensor, candidate: Tensor) -> None:
        finite = reference.isfinite()
        if not torch.equal(finite, candidate.isfinite()):
            raise ModelError("compare: an output is infinite in one model and finite in the other; expected the same.")
        truth, error = reference[finite].double(), (candidate[finite].double() - reference[finite].double()).abs()
        if truth.numel() == 0:
            return
        # Sums are taken around the first value, so that outputs far from zero do not cancel their own spread.
        self._origin = float(truth[0]) if self._origin is None else self._origin
        self.count += truth.numel()
        self.largest = max(self.largest, float(error.max()))
        self._absolute += float(error.sum())
        self._squared += float(error.square().sum())
        self._sum += float((truth - self._origin).sum())
        self._sum_of_squares += float((truth - self._origin).square().sum())

    @property
    def mean(self) -> float:
        return self._absolute / self.count if self.count else 0.0

    @property
    def relative(self) -> float | None:
        spread = self._sum_of_squares - self._sum**2 / self.count if self.count else 0.0
        return math.sqrt(self._squared / spread) if spread > 0 else None
