"""A network's knowledge of a table, in an estimator of scikit-learn: boosted trees, a linear model, whatever fits.

scikit-learn is imported where it is used: whoever calls this has it loaded, and nobody else waits for it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from laconic.core.errors import DataError, invalid
from laconic.core.metric import IGNORED_LABEL
from laconic.core.task import Task
from laconic.distill.answering import answering
from laconic.distill.domain import check_share, check_temperature

Array = NDArray[np.float64]
LEAST = 1e-3
"""Copies of a sample with less weight than this are not made: they cost as much time as the others."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Tabular:
    """An estimator that learned from a network, and how near it came on `Task.evaluate`.

    Args:
        estimator: fitted, a clone of the one that was given.
        classes: how many there are; 0 for a regression.
        agreement: share of samples that get the teacher's class; for a regression, R^2 to the teacher.
        distance: mean KL divergence from the teacher's probabilities in nats; for a regression, mean squared error.
        score: its metric on the labels; None without labels.
        teacher_score: the teacher's.
    """

    estimator: Any
    classes: int
    agreement: float = math.nan
    distance: float = math.nan
    score: float | None = None
    teacher_score: float | None = None

    def predict(self, x: Any) -> NDArray[Any]:
        """Returns the class of each row as the network numbers them, `[rows]`, or the values of a regression."""
        return self.outputs(x) if self.classes == 0 else self.predict_proba(x).argmax(-1)

    def predict_proba(self, x: Any) -> Array:
        """Returns the probability of each class, `[rows, classes]`.

        Raises:
            UsageError: it is a regression.
        """
        if self.classes == 0:
            raise invalid("Tabular.predict_proba", "a regression", "a task of classes", "Use predict.")
        probabilities: Array = np.exp(self.outputs(x))
        return probabilities

    def outputs(self, x: Any) -> Array:
        """Returns log-probabilities, `[rows, classes]`, or the values of a regression, `[rows, ...]`."""
        rows = table(x)
        if not hasattr(self.estimator, "classes_"):
            values: Array = np.asarray(self.estimator.predict(rows), dtype=np.float64)
            return values if self.classes == 0 else _log_softmax(values)
        found = np.zeros((len(rows), self.classes))
        found[:, self.estimator.classes_.astype(int)] = self.estimator.predict_proba(rows)
        logs: Array = np.log(found.clip(np.finfo(np.float64).tiny))
        return logs


def into_sklearn(
    teacher: nn.Module, estimator: Any, task: Task, *, temperature: float = 1.0, hard_weight: float = 0.0
) -> Tabular:
    """Fits an estimator of scikit-learn to what a network answers on `task.train`.

    For classes a *classifier* sees every sample once for each class, weighted by the teacher's probability of it: its
    own loss on those copies is the cross-entropy with soft labels. A *regressor* fits the centred logits, all at once
    or, where it has one output, one copy of it for each class; the softmax of what it predicts are the probabilities.
    For a regression a regressor fits the teacher's values.

    The table is the first input of each batch, flattened. The teacher answers in eval mode and is left as it is.

    Args:
        teacher: any network.
        estimator: any classifier whose `fit` takes `sample_weight` and that has `predict_proba`, or any regressor, or a
            `Pipeline` that ends in one; it is cloned, not fitted itself.
        task: `task.train` is learned from, and needs no labels; `task.evaluate` is what the result is measured on.
        temperature: of the teacher's probabilities, positive; for classifiers only.
        hard_weight: share of the labels in the weights, in [0, 1], where there are labels; for classifiers only.

    Raises:
        UsageError: an estimator that cannot do it, or an argument outside its domain.
        DataError: no data, or a teacher that does not give one row of numbers for each sample.

    Reference:
        Hinton, Vinyals, Dean, 2015, arXiv:1503.02531 (soft labels); Ba, Caruana, 2014, arXiv:1312.6184 (logits).

    Example:
        >>> from sklearn.linear_model import LogisticRegression
        >>> rows = torch.randn(100, 4, generator=torch.Generator().manual_seed(0))
        >>> task = Task(train=[rows[:80]], evaluate=[rows[80:]])
        >>> found = into_sklearn(nn.Linear(4, 3), LogisticRegression(), task)
        >>> found.predict_proba(rows).shape, found.score
        ((100, 3), None)
    """
    from sklearn.base import clone, is_regressor

    check_temperature("into_sklearn", temperature)
    check_share("into_sklearn", hard_weight)
    _check(estimator, regression=task.score.regression)
    rows, answers, labels = _answers(teacher, task, "train")
    if task.score.regression:
        fitted = _several(estimator, answers).fit(rows, answers)
    elif is_regressor(estimator):
        fitted = _several(estimator, answers).fit(rows, answers - answers.mean(-1, keepdims=True))
    else:
        soft = np.exp(_log_softmax(answers / temperature))
        fitted = _fit_copies(clone(estimator), rows, _mix(soft, labels, hard_weight))
    return _measured(Tabular(estimator=fitted, classes=0 if task.score.regression else answers.shape[1]), teacher, task)


def table(x: Any) -> Array:
    """Returns samples as rows of numbers, `[samples, features]`.

    Raises:
        DataError: there are no samples, or one that has no dimension of its own.
    """
    given = x.detach().cpu().double().numpy() if isinstance(x, Tensor) else np.asarray(x, dtype=np.float64)
    if given.ndim < 2:
        raise DataError(f"into_sklearn: got a table of shape {list(given.shape)}; expected [samples, features ...].")
    return given.reshape(len(given), -1)


def _check(estimator: Any, *, regression: bool) -> None:
    from sklearn.base import is_classifier, is_regressor
    from sklearn.utils.validation import has_fit_parameter

    name = type(estimator).__name__
    tagged = hasattr(estimator, "__sklearn_tags__")
    if tagged and is_regressor(estimator):
        return
    if regression or not (tagged and is_classifier(estimator)):
        wanted = "a regressor" if regression else "a classifier or a regressor"
        raise invalid("into_sklearn.estimator", name, f"{wanted} of scikit-learn")
    if not has_fit_parameter(_last(estimator), "sample_weight") or not hasattr(estimator, "predict_proba"):
        raise invalid(
            "into_sklearn.estimator",
            name,
            "a classifier with sample_weight and predict_proba",
            "A regressor of the same kind learns the logits.",
        )


def _last(estimator: Any) -> Any:
    return estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator


def _several(estimator: Any, answers: Array) -> Any:
    """Returns a clone that fits all columns."""
    from sklearn.base import clone
    from sklearn.multioutput import MultiOutputRegressor
    from sklearn.utils import get_tags

    if answers.ndim == 1 or get_tags(estimator).target_tags.multi_output:
        return clone(estimator)
    return MultiOutputRegressor(clone(estimator))


def _fit_copies(estimator: Any, rows: Array, weights: Array) -> Any:
    samples, classes = np.nonzero(weights >= LEAST)
    key = f"{estimator.steps[-1][0]}__sample_weight" if hasattr(estimator, "steps") else "sample_weight"
    return estimator.fit(rows[samples], classes, **{key: weights[samples, classes]})


def _mix(soft: Array, labels: NDArray[np.int64] | None, hard_weight: float) -> Array:
    if labels is None or hard_weight == 0:
        return soft
    known = labels != IGNORED_LABEL
    kept = labels[known]
    if labels.shape != soft.shape[:1] or (len(kept) and not 0 <= kept.min() <= kept.max() < soft.shape[1]):
        raise DataError(
            f"into_sklearn: labels of shape {list(labels.shape)} do not fit {len(soft)} answers of {soft.shape[1]} "
            "classes; expected one class for each. Use hard_weight=0."
        )
    mixed = soft.copy()
    mixed[known] = (1 - hard_weight) * soft[known] + hard_weight * np.eye(soft.shape[1])[kept]
    return mixed


def _answers(teacher: nn.Module, task: Task, part: str) -> tuple[Array, Array, NDArray[Any] | None]:
    """Returns the table, the teacher's answers in the same order, and labels where all batches have them."""
    with answering(teacher) as device:
        batches = [(b, task.forward(teacher, b)) for b in task.batches(part, device=device)]
    answers = np.concatenate([answer.detach().cpu().double().numpy() for _, answer in batches])
    if task.score.regression and answers.ndim == 2 and answers.shape[1] == 1:
        answers = answers[:, 0]
    if answers.ndim > 2 or (answers.ndim < 2 and not task.score.regression) or not np.isfinite(answers).all():
        raise DataError(
            f"into_sklearn: the teacher's answers have shape {list(answers.shape)}, "
            f"{np.count_nonzero(~np.isfinite(answers))} of them not finite; expected finite [samples, classes]."
        )
    rows = np.concatenate([table(batch.inputs[0]) for batch, _ in batches])
    labels = [batch.labels for batch, _ in batches if batch.labels is not None]
    known = len(labels) == len(batches)
    return rows, answers, np.concatenate([label.cpu().numpy() for label in labels]) if known else None


def _measured(found: Tabular, teacher: nn.Module, task: Task) -> Tabular:
    rows, theirs, labels = _answers(teacher, task, "evaluate")
    ours = found.outputs(rows)
    if found.classes:
        agreement = float((ours.argmax(-1) == theirs.argmax(-1)).mean())
        wanted = _log_softmax(theirs)
        distance = float((np.exp(wanted) * (wanted - ours)).sum(-1).mean())
    else:
        distance = float(np.square(ours - theirs).mean())
        spread = float(np.square(theirs - theirs.mean(0)).mean())
        agreement = 1 - distance / spread if spread > 0 else math.nan
    return Tabular(
        estimator=found.estimator,
        classes=found.classes,
        agreement=agreement,
        distance=distance,
        score=_score(task, ours, labels),
        teacher_score=_score(task, theirs, labels),
    )


def _score(task: Task, answers: Array, labels: NDArray[Any] | None) -> float | None:
    if labels is None:
        return None
    scores = torch.as_tensor(task.score.score(torch.from_numpy(answers), torch.from_numpy(labels)))
    return float(scores.double().nanmean())


def _log_softmax(logits: Array) -> Array:
    shifted = logits - logits.max(-1, keepdims=True)
    result: Array = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return result
