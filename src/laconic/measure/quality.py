"""The score of a model on the evaluation data, with how far it can be trusted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor

from laconic.core.errors import DataError, LaconicError
from laconic.core.metric import IGNORED_LABEL, Metric, class_last, correct
from laconic.measure.answers import Answer
from laconic.measure.intervals import CONFIDENCE, Interval, Tally
from laconic.measure.record import RECORD


@dataclass(frozen=True, kw_only=True, config=RECORD)
class Score:
    """A metric's value over the evaluation data.

    Args:
        metric: its name.
        value: mean over predictions, or the metric of the whole.
        interval: 95 %; None where it cannot be known.
        predictions: how many predictions count; for a metric of the whole, how many samples.
        higher_is_better: direction of the metric.
    """

    metric: str
    value: float
    interval: Interval | None
    predictions: int
    higher_is_better: bool


def evaluate(outputs: Iterable[Answer], metric: Metric, *, resamples: int = 200, seed: int = 0) -> Score:
    """Scores a model's answers.

    A mean over predictions streams and has Wilson's interval where all scores are 0 or 1, else Student's (see
    `Tally.interval`). A metric of the whole gathers all logits, and its interval is a bootstrap over samples.

    Args:
        outputs: what `answers` yields.
        metric: how an answer is scored.
        resamples: bootstrap resamples, for metrics of the whole only.
        seed: of the bootstrap.

    Raises:
        DataError: no labels, labels out of range, a metric that does not fit the outputs or returns no finite value.

    Example:
        >>> from laconic.core.metric import metric_named
        >>> from laconic.core.task import Batch
        >>> batch = Batch(args=(torch.zeros(2, 1),), labels=torch.tensor([0, 1]))
        >>> logits = torch.tensor([[2.0, 1.0], [2.0, 1.0]])
        >>> evaluate([Answer(batch=batch, logits=logits)], metric_named("accuracy")).value
        0.5
    """
    labelled = _labelled(outputs, metric)
    return _of_the_whole(labelled, metric, resamples, seed) if metric.whole else _mean(labelled, metric)


def check_labels(logits: Tensor, labels: Tensor, metric: Metric, *, part: str = "evaluate") -> None:
    """Refuses labels that are no class of the model; metrics of other kinds of labels are left alone.

    Raises:
        DataError: a label is negative (other than -100) or not below the number of classes.
    """
    if metric.regression or labels.dim() != logits.dim() - 1:
        return
    classes = class_last(logits, labels).shape[-1]
    # A metric of the user's own may read one logit as yes or no, or labels as something else than classes.
    if metric.score is not correct and (labels.is_floating_point() or classes == 1):
        return
    real = labels[labels != IGNORED_LABEL]
    if real.numel() and not bool(((real >= 0) & (real < classes)).all()):
        raise DataError(
            f"Task.{part}: got labels from {real.min().item()} to {real.max().item()}; expected 0 to {classes - 1} for "
            f"the model's {classes} classes (-100 marks what is not counted). Check the labels' encoding."
        )


def _labelled(outputs: Iterable[Answer], metric: Metric) -> Iterator[tuple[Tensor, Tensor]]:
    for answer in outputs:
        if answer.labels is None:
            raise DataError(
                "Task.evaluate: the batches have no labels; expected (x, y) or a dict with 'labels'. Evaluation needs "
                "the truth; only calibration and distillation do without."
            )
        check_labels(answer.logits, answer.labels, metric)
        yield answer.logits, answer.labels


def _mean(labelled: Iterable[tuple[Tensor, Tensor]], metric: Metric) -> Score:
    tally = Tally()
    for logits, labels in labelled:
        scores = _scored(metric, logits, labels)
        if scores.dim() == 0 and len(logits) > 1:
            raise DataError(
                f"Task.metric: {metric.name!r} returned one number for {len(logits)} samples; expected one score for "
                "each prediction. Return the scores unreduced, or set whole=True."
            )
        tally.add(scores, samples=len(logits))
    value = _finite(metric, tally.mean, tally.predictions)
    return _score(metric, value, tally.interval(), tally.predictions)


def _of_the_whole(labelled: Iterable[tuple[Tensor, Tensor]], metric: Metric, resamples: int, seed: int) -> Score:
    gathered = list(labelled)
    try:
        logits, labels = (torch.cat(list(column)) for column in zip(*gathered, strict=True))
    except RuntimeError as error:
        raise DataError(
            f"Task.evaluate: {metric.name!r} needs all outputs at once, and batches differ in shape; expected equal "
            "shapes but for the number of samples. Pad all batches to one length."
        ) from error
    value = _finite(metric, float(_scored(metric, logits, labels)), len(logits))
    return _score(metric, value, _bootstrap(metric, logits, labels, resamples, seed), len(logits))


def _bootstrap(metric: Metric, logits: Tensor, labels: Tensor, resamples: int, seed: int) -> Interval | None:
    """Percentile interval over samples drawn with replacement; draws on which the metric is undefined are left out."""
    generator = torch.Generator().manual_seed(seed)
    draws = (torch.randint(len(logits), (len(logits),), generator=generator) for _ in range(resamples))
    values = torch.tensor([float(_scored(metric, logits[i], labels[i])) for i in draws], dtype=torch.double)
    values = values[values.isfinite()]
    if len(values) < max(2, resamples / 2):
        return None
    tail = (1 - CONFIDENCE) / 2
    low, high = torch.quantile(values, torch.tensor([tail, 1 - tail], dtype=torch.double)).tolist()
    return Interval(low=low, high=high)


def _scored(metric: Metric, logits: Tensor, labels: Tensor) -> Tensor:
    try:
        return torch.as_tensor(metric.score(logits, labels))
    except LaconicError:
        raise
    except Exception as error:  # The metric may be the user's: whatever fails in it, shapes are what they need to see.
        raise DataError(
            f"Task.metric: {metric.name!r} fails on logits of shape {list(logits.shape)} and labels of shape "
            f"{list(labels.shape)}: {error}. Check what the metric expects."
        ) from error


def _finite(metric: Metric, value: float, predictions: int) -> float:
    if predictions == 0 or not math.isfinite(value):
        raise DataError(
            f"Task.metric: {metric.name!r} returned {value} for Task.evaluate ({predictions} predictions count); "
            "expected a finite number. Check the metric, and that not all labels are -100."
        )
    return value


def _score(metric: Metric, value: float, interval: Interval | None, predictions: int) -> Score:
    return Score(
        metric=metric.name,
        value=value,
        interval=interval,
        predictions=predictions,
        higher_is_better=metric.higher_is_better,
    )
