"""How an answer is scored: one number a sample, or one for the whole evaluation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from laconic.core.errors import DataError, invalid

IGNORED_LABEL = -100


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A score of logits against labels.

    Args:
        name: what reports call it.
        score: `(logits, labels) -> scores`: one score for each prediction, of any shape, NaN where a position does
            not count; or one number when `whole` is true.
        whole: the score is not a mean over predictions (F1, AUC): all logits and labels are gathered first and
            `score` is called once with them.
        higher_is_better: direction.
        regression: the outputs are values, not logits of classes: no softmax and no KL apply.
    """

    name: str
    score: Callable[[Tensor, Tensor], Tensor]
    whole: bool = False
    higher_is_better: bool = True
    regression: bool = False


def class_last(logits: Tensor, labels: Tensor) -> Tensor:
    """Returns the logits with the class dimension last, whatever the convention (`[n, c, ...]` or `[n, ..., c]`).

    Where both fit (as many classes as positions) the class dimension is taken to be last already.

    Raises:
        DataError: the labels' shape fits neither.
    """
    if logits.shape[:-1] == labels.shape:
        return logits
    if logits.dim() > 1 and logits.shape[:1] + logits.shape[2:] == labels.shape:
        return logits.movedim(1, -1)
    raise DataError(
        f"Task: labels of shape {list(labels.shape)} do not fit logits of shape {list(logits.shape)}; expected the "
        "logits' shape without its class dimension. Check the loader, or pass Task(loss=..., metric=...)."
    )


def correct(logits: Tensor, labels: Tensor) -> Tensor:
    """1.0 where the largest logit is the label's, 0.0 elsewhere, NaN where the label is -100; the labels' shape."""
    hits = (class_last(logits, labels).argmax(-1) == labels).float()
    return hits.masked_fill(labels == IGNORED_LABEL, torch.nan)


def surprise(logits: Tensor, labels: Tensor) -> Tensor:
    """`-log p(label)` in nats, NaN where the label is -100; the labels' shape.

    Raises:
        DataError: a label is none of the classes.
    """
    rows, counted = class_last(logits, labels), labels != IGNORED_LABEL
    if bool(((labels < 0) | (labels >= rows.shape[-1]))[counted].any()):
        raise DataError(
            f"Task: labels from {int(labels[counted].min())} to {int(labels[counted].max())} do not fit "
            f"{rows.shape[-1]} classes; expected numbers from 0, or -100 where a position does not count."
        )
    flat = rows.float().flatten(0, -2), labels.long().flatten()
    nats = functional.cross_entropy(*flat, ignore_index=IGNORED_LABEL, reduction="none").view(labels.shape)
    return nats.masked_fill(~counted, torch.nan)


def values_like(logits: Tensor, labels: Tensor) -> Tensor:
    """Returns predicted values in the labels' shape; a last dimension of one may be there or not.

    Raises:
        DataError: the shapes differ otherwise.
    """
    if logits.shape in (labels.shape, (*labels.shape, 1)) or (*logits.shape, 1) == labels.shape:
        return logits.reshape(labels.shape)
    raise DataError(
        f"Task: labels of shape {list(labels.shape)} do not fit outputs of shape {list(logits.shape)}; expected the "
        "same shape. Check the loader, or pass Task(loss=..., metric=...)."
    )


def squared_errors(logits: Tensor, labels: Tensor) -> Tensor:
    """Squared error of every output value; the labels' shape."""
    return (values_like(logits, labels) - labels).square()


METRICS = (
    Metric(name="accuracy", score=correct),
    Metric(name="cross entropy", score=surprise, higher_is_better=False),
    Metric(name="mse", score=squared_errors, higher_is_better=False, regression=True),
)


def metric_named(metric: str | Metric) -> Metric:
    """Looks a metric up by name.

    Example:
        >>> metric_named("accuracy").higher_is_better
        True
    """
    if isinstance(metric, Metric):
        return metric
    for known in METRICS:
        if known.name == metric:
            return known
    names = ", ".join(repr(m.name) for m in METRICS)
    raise invalid(
        "Task.metric",
        metric,
        f"one of {names}, or a laconic.Metric",
        "Wrap a function of your own in Metric.",
    )
