from typing import Any

import numpy as np
import pytest
import torch
from distill_samples import randn
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.cluster import KMeans
from sklearn.datasets import load_wine
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from laconic.core.errors import DataError, UsageError
from laconic.core.task import Task
from laconic.distill import Tabular, into_sklearn


class Keeps(ClassifierMixin, BaseEstimator):
    """Remembers what it was fitted on; its own answer is class 1 for everything."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "Keeps":
        self.seen_ = [(*map(float, row), int(k), float(w)) for row, k, w in zip(X, y, sample_weight, strict=True)]
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X: Any) -> Any:
        return np.full((len(X), len(self.classes_)), 1 / len(self.classes_))


class Says(nn.Module):
    def __init__(self, probabilities: list[list[float]]) -> None:
        super().__init__()
        self.logits = torch.tensor(probabilities, dtype=torch.float64).log()

    def forward(self, x: Tensor) -> Tensor:
        return self.logits[: len(x)]


def wine() -> tuple[nn.Module, Task, Tensor]:
    """178 wines, 13 measures of each, 3 growers; a network trained on 120 of them."""
    found, labels = load_wine(return_X_y=True)
    order = torch.randperm(len(found), generator=torch.Generator().manual_seed(0))
    x = torch.from_numpy((found - found.mean(0)) / found.std(0)).float()[order]
    y = torch.from_numpy(labels)[order]
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(13, 16), nn.Tanh(), nn.Dropout(0.1), nn.Linear(16, 3))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(x[:120]), y[:120]).backward()
        optimizer.step()
    task = Task(train=[(x[:60], y[:60]), (x[60:120], y[60:120])], evaluate=[(x[120:], y[120:])])
    return network, task, x


def test_a_classifier_sees_each_sample_once_for_each_class_weighted_by_its_probability() -> None:
    task = Task(train=[torch.tensor([[1.0], [2.0]])], evaluate=[torch.tensor([[3.0]])])
    found = into_sklearn(Says([[0.75, 0.25], [0.9995, 0.0005]]), Keeps(), task)
    assert found.estimator.seen_ == [
        (1.0, 0, pytest.approx(0.75)),
        (1.0, 1, pytest.approx(0.25)),
        (2.0, 0, pytest.approx(0.9995)),
    ]


def test_weights_are_softened_and_mixed_with_labels_that_count() -> None:
    batch = (torch.tensor([[1.0], [2.0]]), torch.tensor([1, -100]))
    task = Task(train=[batch], evaluate=[torch.tensor([[3.0]])])
    # At temperature 2 the odds of 9 are 3: 0.75 and 0.25; a quarter of the label makes it 0.5625 and 0.4375.
    found = into_sklearn(Says([[0.9, 0.1], [0.9, 0.1]]), Keeps(), task, temperature=2, hard_weight=0.25)
    assert [row[2] for row in found.estimator.seen_] == pytest.approx([0.5625, 0.4375, 0.75, 0.25])


def test_a_class_that_the_teacher_never_gives_has_probability_zero() -> None:
    task = Task(train=[torch.tensor([[1.0]])], evaluate=[torch.tensor([[3.0]])])
    found = into_sklearn(Says([[0.4, 1e-9, 0.6]]), Keeps(), task)
    assert found.predict_proba([[1.0]])[0] == pytest.approx([0.5, 0.0, 0.5])


def test_a_linear_model_is_exactly_the_linear_network_it_learns_from() -> None:
    torch.manual_seed(0)
    teacher, x = nn.Linear(4, 3).double(), randn(60, 4).double()
    task = Task(train=[x[:40]], evaluate=[x[40:]])
    found = into_sklearn(teacher, LinearRegression(), task)
    np.testing.assert_allclose(found.predict_proba(x), teacher(x).softmax(-1).detach().numpy(), atol=1e-9)
    assert found.agreement == 1.0
    assert found.distance == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    "estimator",
    [
        make_pipeline(StandardScaler(), LogisticRegression()),
        GradientBoostingClassifier(n_estimators=20, random_state=0),
        HistGradientBoostingRegressor(max_iter=30, min_samples_leaf=5),
        Ridge(),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_what_is_learned_from_a_network_on_wines_agrees_with_it_on_others(estimator: Any) -> None:
    teacher, task, x = wine()
    found = into_sklearn(teacher, estimator, task)
    assert not hasattr(estimator, "n_features_in_")
    assert teacher.training
    with torch.no_grad():
        theirs = teacher.eval()(x[120:])
    agreement = (found.predict(x[120:]) == theirs.argmax(-1).numpy()).mean()
    assert found.agreement == pytest.approx(agreement)
    assert agreement > 0.85
    assert found.score is not None
    assert found.score > 0.85
    np.testing.assert_allclose(found.predict_proba(x).sum(-1), 1)
    logs = np.log(found.predict_proba(x[120:]).clip(1e-300))
    wanted = theirs.double().log_softmax(-1).numpy()
    assert found.distance == pytest.approx((np.exp(wanted) * (wanted - logs)).sum(-1).mean(), rel=1e-6)


def test_a_regression_fits_the_values_of_the_network() -> None:
    x = randn(60, 3).double()
    teacher = nn.Sequential(nn.Linear(3, 1)).double()
    task = Task(train=[x[:40]], evaluate=[(x[40:], teacher(x[40:]).detach() + 0.5)], metric="mse")
    found: Tabular = into_sklearn(teacher, LinearRegression(), task)
    np.testing.assert_allclose(found.predict(x), teacher(x)[:, 0].detach().numpy(), atol=1e-9)
    assert found.agreement == pytest.approx(1)
    assert (found.score, found.teacher_score) == (pytest.approx(0.25), pytest.approx(0.25))
    with pytest.raises(UsageError, match="Use predict"):
        found.predict_proba(x)


@pytest.mark.parametrize("estimator", [KMeans(), KNeighborsClassifier(), object()])
def test_estimators_that_cannot_learn_soft_labels_are_refused(estimator: Any) -> None:
    task = Task(train=[torch.zeros(2, 1)], evaluate=[torch.zeros(2, 1)])
    with pytest.raises(UsageError, match=r"into_sklearn\.estimator"):
        into_sklearn(nn.Linear(1, 2), estimator, task)


def test_a_classifier_for_a_regression_is_refused() -> None:
    task = Task(train=[torch.zeros(2, 1)], evaluate=[torch.zeros(2, 1)], metric="mse")
    with pytest.raises(UsageError, match="expected a regressor"):
        into_sklearn(nn.Linear(1, 1), LogisticRegression(), task)


def test_answers_and_labels_that_do_not_fit_are_refused() -> None:
    task = Task(train=[(torch.zeros(2, 1), torch.tensor([0, 5]))], evaluate=[torch.zeros(2, 1)])
    with pytest.raises(DataError, match="not finite"):
        into_sklearn(Says([[float("nan"), 1.0], [0.5, 0.5]]), LogisticRegression(), task)
    with pytest.raises(DataError, match="expected one class for each"):
        into_sklearn(nn.Linear(1, 2), LogisticRegression(), task, hard_weight=0.5)
