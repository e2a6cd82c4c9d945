import pytest
import torch
from torch import nn

from laconic.calibrate import Histogram, calibrate
from laconic.core.apply import apply
from laconic.core.errors import UsageError
from laconic.core.plan import Plan
from laconic.core.task import Task
from laconic.graph import capture
from laconic.quantize import MinMax, RoundActivations


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


@pytest.mark.parametrize("bits", [4, 6])
def test_a_single_value_far_out_costs_the_others_no_more_than_it_must(bits: int) -> None:
    values = torch.cat([torch.randn(100_000, generator=torch.Generator().manual_seed(0)), torch.tensor([30.0, -28.0])])

    def error(scale: float, zero_point: int) -> float:
        codes = (values / scale).round().add(zero_point).clamp(0, 2**bits - 1)
        return float(((codes - zero_point) * scale - values).square().mean())

    grid = RoundActivations(bits=bits).grid(Histogram.of(values), bits=bits)
    steps = [58 * 0.98**k / (2**bits - 1) for k in range(200)]
    least = min(error(step, round(28 / 58 * (2**bits - 1))) for step in steps)
    assert error(grid.scale, grid.zero_point) < 1.05 * least


def test_bits_outside_the_range_are_refused():
    with pytest.raises(UsageError, match=r"RoundActivations\.bits"):
        RoundActivations(bits=9)


def test_a_convolution_before_max_pooling_is_rounded_once_behind_it():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3)).eval()
    assert set(planned(model, X)) == {("0", "input"), ("3", "input"), ("3", "output")}


def test_outputs_keep_eight_bits_where_layers_read_fewer() -> None:
    sites = planned(Residual().eval(), X, bits=4)
    assert {side: grid.grid.bits for (_, side), grid in sites.items()} == {"input": 4, "output": 8}
    assert {grid.grid.bits for grid in planned(Residual().eval(), X, bits=4, output_bits=3).values()} == {3, 4}


def test_the_data_itself_may_keep_more_bits() -> None:
    sites = planned(Residual().eval(), X, bits=4, first_bits=7)
    assert [grid.grid.bits for (_, side), grid in sites.items() if side == "input"] == [7, 4, 4]


def test_channels_that_reach_unequally_far_lose_less_with_a_range_each() -> None:
    x = X * torch.tensor([100.0, 1.0, 0.01])[:, None, None]
    model = nn.Conv2d(3, 4, 3).eval()
    evidence = calibrate(model, Task(evaluate=[x]), gradients=False, activations="channels")
    graph = capture(model, (x,))
    grids = [RoundActivations(bits=4, per=per).edits(model, graph, evidence)[0].grid for per in ("tensor", "channel")]
    relative = [((grid.round(x) - x).square().mean((0, 2, 3)) / x.square().mean((0, 2, 3))).sqrt() for grid in grids]
    assert relative[0][2] == 1  # One range leaves nothing of the smallest channel.
    assert (relative[1] < 0.15).all()
    assert len(grids[1].scale) == 3


def test_the_full_range_of_a_channel_is_reached_exactly() -> None:
    model = nn.Linear(8, 4).eval()
    x = X[:, 0, 0].contiguous()
    evidence = calibrate(model, Task(evaluate=[x]), gradients=False, activations="channels")
    (edit,) = RoundActivations(bits=8, per="channel", range=MinMax()).edits(model, capture(model, (x,)), evidence)
    steps = (x.amax(0).clamp(min=0) - x.amin(0).clamp(max=0)) / 255
    torch.testing.assert_close(torch.tensor(edit.grid.scale), steps)


def test_linear_layers_get_a_range_for_each_vector_and_convolutions_keep_one() -> None:
    sites = planned(Residual().eval(), X, per="token")
    assert {key: edit.grid.kind for key, edit in sites.items() if edit.side == "input"} == {
        ("stem", "input"): "tensor",
        ("conv", "input"): "tensor",
        ("head", "input"): "token",
    }


def test_a_range_for_each_channel_wants_evidence_of_channels() -> None:
    with pytest.raises(UsageError, match=r"activations='channels'"):
        planned(Residual().eval(), X, per="channel")


@pytest.mark.parametrize(
    ("settings", "name"),
    [({"output_bits": 1}, "output_bits"), ({"first_bits": 9}, "first_bits"), ({"per": "row"}, "per")],
)
def test_other_settings_outside_their_domain_are_refused(settings: dict[str, object], name: str) -> None:
    with pytest.raises(UsageError, match=rf"RoundActivations\.{name}"):
        RoundActivations(**settings)
