import math

import pytest
import torch
from distill_samples import randn
from hypothesis import given
from hypothesis import strategies as st

from laconic.core.errors import UsageError
from laconic.distill import Contrastive, Pair


def test_a_hand_worked_value() -> None:
    # Both layers the identity: scores 1 / T on the diagonal and 0 elsewhere, for two samples: ln(1 + exp(-1 / T)).
    pair = Pair(student=torch.eye(2), teacher=torch.eye(2))
    module = Contrastive(dimension=2, temperature=0.5).module(pair)
    with torch.no_grad():
        for layer in (module.student, module.teacher):
            layer.weight.copy_(torch.eye(2))
            layer.bias.zero_()
    assert module(pair).item() == pytest.approx(math.log(1 + math.exp(-2)))


@given(seed=st.integers(0, 10**6))
def test_the_loss_is_the_reference_s(seed: int) -> None:
    pair = Pair(student=randn(4, 3, 2, seed=seed), teacher=randn(4, 7, seed=seed + 1))
    module = Contrastive(dimension=5, temperature=0.3).module(pair)
    s, t = (
        layer(x.flatten(1)).detach().double()
        for layer, x in ((module.student, pair.student), (module.teacher, pair.teacher))
    )
    cosines = [[float(a @ b / (a.norm() * b.norm())) for b in t] for a in s]
    rows = cosines + [list(column) for column in zip(*cosines, strict=True)]
    nats = [math.log(sum(math.exp(c / 0.3) for c in row)) - row[i % 4] / 0.3 for i, row in enumerate(rows)]
    assert module(pair).item() == pytest.approx(sum(nats) / 8, rel=1e-4)


def test_samples_that_the_student_tells_apart_as_the_teacher_does_cost_less() -> None:
    teacher = randn(8, 6)
    same, mixed = Pair(student=teacher, teacher=teacher), Pair(student=teacher.flip(0), teacher=teacher)
    module = Contrastive(dimension=6).module(same)
    module.teacher.load_state_dict(module.student.state_dict())
    assert module(same) < module(mixed)


def test_a_batch_of_one_has_nothing_to_tell_apart() -> None:
    pair = Pair(student=randn(1, 3), teacher=randn(1, 4))
    assert Contrastive().module(pair)(pair) == 0


@pytest.mark.parametrize(("name", "value"), [("dimension", 0), ("dimension", 1.5), ("temperature", 0)])
def test_values_outside_their_domain_are_refused(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=rf"Contrastive\.{name}: got"):
        Contrastive(**{name: value})
