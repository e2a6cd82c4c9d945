from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from training_samples import HINT, data, plain_network, same_weights, task_of

from laconic.core.errors import UsageError
from laconic.distill import ByGap, Knob, Labels, OnPlateau, SoftLabels, Sum, Weighted
from laconic.train import SGD, Adapting, Training, distillation, train


@dataclass
class Scored:
    score: float | None


class StoppedError(Exception):
    pass


def run(scores: list[float | None], seed: int = 2, until: int | None = None, **options: Any) -> tuple[Any, list[float]]:
    """Trains with scores that are given instead of measured; returns the student and the knob after each step."""
    task, knob, seen = task_of(data()), Knob(), []
    loss = Sum(losses=(Labels(), Weighted(loss=SoftLabels(), schedule=knob)))
    given = distillation(plain_network(1), task, loss, [HINT])
    adapting = Adapting(given=given, task=task, rules={knob: OnPlateau(factor=0.5, patience=1)})

    def progress(step: int, total: int, value: float) -> None:
        seen.append(knob.value)
        adapting(Scored(scores[step - 1]))
        if step == until:
            raise StoppedError

    torch.manual_seed(seed)
    student = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
    training = Training(steps=len(scores), checkpoint_every=1, optimizer=SGD(learning_rate=0.2))
    trained = train(student, task, training, objective=adapting.objective, progress=progress, **options)
    return trained.model, seen


def test_the_knob_stands_as_its_rule_says_after_each_score() -> None:
    assert run([0.5, None, 0.6, 0.6, None, 0.5])[1] == [1, 1, 1, 1, 0.5, 0.5]


def test_a_weight_that_is_turned_down_is_the_same_as_a_smaller_one() -> None:
    down, _ = run([0.5] * 4)
    steady, _ = run([0.5, 0.6, 0.7, 0.8])
    assert not same_weights(down, steady)


def test_a_resumed_run_has_its_knob_where_it_was(tmp_path: Path) -> None:
    scores: list[float | None] = [0.5, 0.5, None, 0.6, 0.5, 0.5]
    whole, seen = run(scores)
    with pytest.raises(StoppedError):
        run(scores, until=4, work=tmp_path)
    resumed, rest = run(scores, seed=9, work=tmp_path)
    assert same_weights(resumed, whole)
    assert rest == seen[3:]  # The step that was not saved is made again.


def test_what_does_not_go_together_is_refused() -> None:
    task = task_of(data())
    given = distillation(plain_network(1), task, SoftLabels())
    with pytest.raises(UsageError, match=r"Adapting\.rules: got \{\}"):
        Adapting(given=given, task=task, rules={})
    with pytest.raises(UsageError, match="steps of another objective"):
        Adapting(given=given, task=task, rules={Knob(): ByGap(teacher=1.0)})(Scored(0.5))


@pytest.mark.parametrize(
    ("rule", "scores", "higher", "factor"),
    [
        (OnPlateau(patience=2), [0.5, 0.4, 0.4, 0.6, 0.5, 0.5, 0.5, 0.5], True, 0.125),
        (OnPlateau(patience=2), [0.5, 0.6, 0.4, 0.3, 0.2], False, 1.0),
        (OnPlateau(patience=1, margin=0.1), [0.5, 0.55], True, 0.5),
        (OnPlateau(patience=1, least=0.3), [0.5] * 9, True, 0.3),
        (OnPlateau(patience=1, factor=2.0, most=5.0), [0.5] * 9, True, 5.0),
        (ByGap(teacher=0.9), [0.5, 0.7], True, 0.5),
        (ByGap(teacher=0.1), [0.5, 0.2], False, 0.25),
        (ByGap(teacher=0.9, least=0.2), [0.5, 0.95], True, 0.2),
        (ByGap(teacher=0.9), [0.5, 0.1], True, 1.0),
        (ByGap(teacher=0.4), [0.5, 0.6], True, 0.0),
    ],
)
def test_rules_give_the_factor_that_is_worked_out_by_hand(
    rule: Callable[..., float], scores: list[float], higher: bool, factor: float
) -> None:
    assert rule(scores, higher_is_better=higher) == pytest.approx(factor)


@pytest.mark.parametrize(
    ("build", "named"),
    [
        (lambda: OnPlateau(factor=0), r"OnPlateau\.factor: got 0"),
        (lambda: OnPlateau(patience=0), r"OnPlateau\.patience: got 0"),
        (lambda: OnPlateau(least=2), r"OnPlateau\.least, most: got \(2, 100"),
        (lambda: ByGap(teacher=1, most=0.5), r"ByGap\.least, most: got \(0\.0, 0\.5"),
    ],
)
def test_values_outside_their_domain_are_refused(build: Callable[[], object], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        build()
