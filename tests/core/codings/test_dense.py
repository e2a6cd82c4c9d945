import pytest
import torch
from torch import nn

from laconic.core.apply import apply, refit
from laconic.core.codings import Dense
from laconic.core.edit import Recode
from laconic.core.errors import UsageError
from laconic.core.plan import Plan


def test_values_come_back_bit_for_bit() -> None:
    values = torch.randn(3, 4)
    assert torch.equal(Dense.of(values).decode(), values)


def test_values_that_are_not_finite_are_refused() -> None:
    with pytest.raises(UsageError, match="finite"):
        Dense.of(torch.tensor([float("nan")]))


def test_buffers_take_new_values_and_keep_learning() -> None:
    model = nn.Sequential(nn.BatchNorm1d(2)).train()
    plan = Plan((Recode("0.running_mean", Dense.of(torch.tensor([5.0, 7.0]))),))
    changed = apply(model, plan, trainable=True)
    assert changed[0].running_mean.tolist() == [5.0, 7.0]
    changed(torch.randn(4, 2))
    assert changed[0].running_mean.tolist() != [5.0, 7.0]


def test_what_training_arrives_at_is_read_back() -> None:
    plan = Plan((Recode("weight", Dense.of(torch.ones(2, 3))),))
    trained = apply(nn.Linear(3, 2), plan, trainable=True)
    with torch.no_grad():
        trained.weight += 1
    assert apply(nn.Linear(3, 2), refit(plan, trained)).weight.eq(2).all()
