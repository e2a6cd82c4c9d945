from pathlib import Path

import pytest
import torch
from training_samples import HINT, data, plain_network, same_weights, task_of

from laconic.core.errors import UsageError
from laconic.distill import Labels, Ramp, SameLogits, Sum, Weighted
from laconic.train import Step, Training, balanced, distillation, train

LOSS = Sum(losses=(Labels(), Weighted(loss=SameLogits(), weight=0.5, schedule=Ramp(start=1, end=0))))


def objective(*terms: str, scale: float = 1.0):
    teacher = plain_network(1)
    with torch.no_grad():
        for parameter in list(teacher.parameters())[-2:]:
            parameter.mul_(scale)
    return balanced(distillation(teacher, task_of(data()), LOSS, [HINT]), *terms)


def first(*terms: str, scale: float = 1.0) -> Step:
    steps: list[Step] = []
    training = Training(steps=1, noise=False)
    train(
        plain_network(2), task_of(data()), training, objective=objective(*terms, scale=scale), callbacks=[steps.append]
    )
    return steps[0]


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_every_term_begins_at_its_weight(scale: float) -> None:
    assert first(scale=scale).losses == pytest.approx({"labels": 1.0, "logits": 0.5, str(HINT): 2.0}, rel=1e-5)


def test_terms_that_are_not_named_stay_and_the_unweighted_ones_are_told_as_they_are() -> None:
    plain, named = first("logits", scale=3.0), first("labels", scale=3.0)
    assert plain.losses["logits"] == pytest.approx(0.5) and named.losses["labels"] == pytest.approx(1.0)
    assert plain.losses["labels"] == plain.unweighted["labels"] == pytest.approx(named.unweighted["labels"])


def test_sizes_are_saved_with_the_run(tmp_path: Path) -> None:
    training, task = Training(steps=8, checkpoint_every=3), task_of(data())
    expected = train(plain_network(2), task, training, objective=objective()).model

    def stop(step: Step) -> bool:
        if step.step == 5:
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        train(plain_network(2), task, training, objective=objective(), work=tmp_path, callbacks=[stop])
    resumed = train(plain_network(2), task, training, objective=objective(), work=tmp_path)
    assert resumed.resumed_at == 3 and same_weights(resumed.model, expected)


def test_a_name_that_no_term_has_is_refused() -> None:
    with pytest.raises(UsageError, match=r"balanced\.terms: got 'logit'; expected the name of a term: labels, logits"):
        first("logit")
