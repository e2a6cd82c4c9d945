import pytest
import torch
from torch import nn

from laconic.calibrate import ChannelHistograms, Evidence, calibrate, input_channels
from laconic.core.task import Task


def same(one: ChannelHistograms, other: ChannelHistograms) -> bool:
    return all(torch.equal(value, getattr(other, name)) for name, value in vars(one).items())


def test_halves_add_up_to_the_whole_exactly() -> None:
    values = torch.randn(40, 6, 3) * torch.logspace(-20, 20, 6)[None, :, None]
    values[:20] *= torch.logspace(-2, 2, 20)[:, None, None]
    whole = ChannelHistograms.of(values, 1)
    assert same(ChannelHistograms.of(values[:20], 1) + ChannelHistograms.of(values[20:], 1), whole)
    assert whole.counts.sum(1).tolist() == [120] * 6


def test_a_value_is_counted_in_the_bin_that_holds_it() -> None:
    values = torch.tensor([[-4.0], [-0.01], [0.0], [1.0], [3.99]])
    found = ChannelHistograms.of(values, -1)
    width = 2.0 ** int(found.exponent)
    places = found.counts[0].nonzero()[:, 0]
    assert width == 4 / 64  # 4 itself would lie beyond 128 bins of 1/32.
    assert ((places - 128) * width).tolist() == [-4.0, -width, 0.0, 1.0, 4.0 - width]


def test_centres_lie_inside_what_was_seen_and_within_half_a_bin() -> None:
    values = torch.randn(200, 4) * torch.tensor([1e-3, 1.0, 50.0, 1e6]) + 1
    found = ChannelHistograms.of(values, 1)
    mean = (found.centres.double() * found.counts).sum(1) / 200
    assert ((mean - values.double().mean(0)).abs() <= 0.5 * 2.0**found.exponent).all()
    assert (found.centres.amax(1) <= found.maximum).all()
    assert (found.centres.amin(1) >= found.minimum).all()


def test_what_is_impossible_is_not_counted_and_an_empty_channel_says_so() -> None:
    values = torch.tensor([[-torch.inf, 2.0], [-torch.inf, -torch.inf]])
    found = ChannelHistograms.of(values, 1)
    assert found.counts.sum(1).tolist() == [0, 1]
    assert found.minimum.tolist() == [torch.inf, 2.0]
    assert found.maximum.tolist() == [-torch.inf, 2.0]


@pytest.mark.parametrize(
    ("module", "dim"),
    [(nn.Linear(2, 2), -1), (nn.Conv2d(2, 2, 1), -3), (nn.ConvTranspose1d(2, 2, 1), -2), (nn.ReLU(), None)],
)
def test_where_channels_are_follows_from_the_module(module: nn.Module, dim: int | None) -> None:
    assert input_channels(module) == dim


def test_calibration_counts_channels_of_what_layers_read_where_asked_and_keeps_them(tmp_path) -> None:
    model, x = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2)), torch.randn(6, 3, 2, 2)
    task = Task(evaluate=[x[:4], x[4:]])
    found = calibrate(model, task, activations="channels")
    assert set(found.channels) == {"0:input", "3:input"}
    assert same(found.channels["0:input"], ChannelHistograms.of(x, 1))
    assert calibrate(model, task).channels == {}
    found.save(tmp_path / "evidence")
    again = Evidence.load(tmp_path / "evidence")
    assert all(same(again.channels[key], each) for key, each in found.channels.items())
    doubled = (found + again).channels["0:input"]
    assert torch.equal(doubled.counts, 2 * found.channels["0:input"].counts)
