import pytest
import torch
from torch import nn

from laconic.calibrate import calibrate
from laconic.core.apply import apply
from laconic.core.errors import UsageError
from laconic.core.plan import Plan
from laconic.core.task import Task
from laconic.graph import capture
from laconic.quantize import RoundActivations


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.conv = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.act = nn.ReLU()
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = self.act(self.stem(x))
        x = self.act(x + self.norm(self.conv(x)))
        return self.head(x.mean((2, 3)))


def planned(model: nn.Module, x: torch.Tensor, **settings) -> dict[tuple[str, str], object]:
    evidence = calibrate(model, Task(evaluate=[x]), gradients=False)
    edits = RoundActivations(**settings).edits(model, capture(model, (x,)), evidence)
    return {(edit.module, edit.side): edit for edit in edits}


X = torch.randn(32, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def test_every_layer_reads_rounded_values_and_a_convolution_before_an_addition_writes_them():
    sites = planned(Residual().eval(), X)
    assert set(sites) == {
        ("stem", "input"),
        ("stem", "output"),
        ("conv", "input"),
        ("norm", "output"),
        ("head", "input"),
    }


def test_a_convolution_read_by_another_one_is_rounded_once():
    sites = planned(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3)).eval(), X)
    assert set(sites) == {("0", "input"), ("2", "input"), ("2", "output")}


def test_values_behind_a_relu_need_no_negative_codes():
    sites = planned(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3)).eval(), X)
    assert sites["2", "input"].grid.zero_point == 0
    assert sites["0", "input"].grid.zero_point > 0


def test_rounded_activations_stay_near_the_original():
    model = Residual().eval()
    plan = Plan.of(planned(model, X).values())
    before, after = model(X), apply(model, plan)(X)
    assert 0 < (after - before).abs().max().item() < 0.05 * before.std().item()


def test_bits_outside_the_range_are_refused():
    with pytest.raises(UsageError, match=r"RoundActivations\.bits"):
        RoundActivations(bits=9)


def test_a_convolution_before_max_pooling_is_rounded_once_behind_it():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3)).eval()
    assert set(planned(model, X)) == {("0", "input"), ("3", "input"), ("3", "output")}
