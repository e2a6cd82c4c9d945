import copy
import sys
from typing import Any

import pytest
import torch
from torch import nn
from training_samples import data, network, task_of

from laconic.train import compiled

MODULE = sys.modules["laconic.train.compiled"]


class Stand(nn.Module):
    """Stands for what `torch.compile` returns."""

    def __init__(self, teacher: nn.Module, shift: float = 0.0) -> None:
        super().__init__()
        self.teacher, self.shift = teacher, shift

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.teacher(x) + self.shift


@pytest.mark.parametrize(
    ("times", "shift", "kept"), [((0.8, 1.0), 0, True), ((1.0, 1.0), 0, False), ((0.1, 1.0), 1, False)]
)
def test_compiled_is_kept_where_it_is_quicker_and_answers_alike(
    times: tuple[float, float], shift: float, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = network().train()
    before, clock = copy.deepcopy(teacher.state_dict()), iter(times * MODULE.ROUNDS)
    monkeypatch.setattr(torch, "compile", lambda model: Stand(model, shift))
    monkeypatch.setattr(MODULE, "seconds_of", lambda ask: next(clock))
    found = compiled(teacher, task_of(data()))
    assert isinstance(found, Stand) == kept
    assert kept or found is teacher
    assert teacher.training
    assert all(torch.equal(before[name], now) for name, now in teacher.state_dict().items())


def test_a_teacher_that_cannot_be_compiled_stays_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fails(Stand):
        def forward(self, x: Any) -> Any:
            raise NotImplementedError("no compiler here\nand a long story")

    monkeypatch.setattr(torch, "compile", Fails)
    teacher = network()
    with pytest.warns(UserWarning, match="stays as it is, as torch.compile fails: no compiler here$"):
        assert compiled(teacher, task_of(data())) is teacher


@pytest.mark.slow
def test_a_compiled_teacher_answers_as_it_did() -> None:
    teacher, (x, _) = network().eval(), data()[0]
    found: Any = torch.compile(teacher)
    with torch.no_grad():
        torch.testing.assert_close(found(x), teacher(x))
    assert MODULE.seconds_of(lambda: teacher(x)) > 0
