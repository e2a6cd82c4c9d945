import pytest
import torch
from torch import Tensor, nn

from laconic.calibrate import calibrate
from laconic.core.errors import ModelError
from laconic.core.task import Task


class Masked(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((x[:, :1].relu(), x[:, 1:].masked_fill(x[:, 1:] < 0, -torch.inf)), 1)


def test_inputs_and_outputs_of_every_module_are_counted() -> None:
    x = torch.randn(6, 4)
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(inplace=True))
    found = calibrate(model, Task(evaluate=[x[:2], x[2:]])).activations
    assert set(found) == {":input", "0:input", "0:output", "1:input", "1:output", ":output"}
    linear = model[0](x).detach()
    for key, values in {"0:input": x, "0:output": linear, "1:input": linear, "1:output": linear.relu()}.items():
        assert (found[key].minimum, found[key].maximum) == pytest.approx((float(values.min()), float(values.max())))
        assert int(found[key].counts.sum()) == values.numel()


def test_a_module_called_twice_counts_both_calls() -> None:
    relu = nn.ReLU()
    found = calibrate(nn.Sequential(nn.Linear(4, 3), relu, relu), Task(evaluate=[torch.randn(6, 4)])).activations
    assert int(found["1:input"].counts.sum()) == 36


def test_tensors_of_whole_numbers_are_left_out() -> None:
    model = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 2))
    found = calibrate(model, Task(evaluate=[torch.tensor([[1, 2]])])).activations
    assert "0:input" not in found
    assert "0:output" in found


def test_what_is_masked_with_minus_infinity_has_no_place_on_a_grid() -> None:
    model = nn.Sequential(nn.Linear(4, 3), Masked())
    found = calibrate(model, Task(evaluate=[torch.randn(20, 4)])).activations
    assert found["1:output"].minimum >= 0
    assert 0 < int(found["1:output"].counts.sum()) < 60


def test_data_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ModelError, match="the input of the model holds NaN"):
        calibrate(nn.Sequential(nn.Linear(4, 3)), Task(evaluate=[torch.full((2, 4), torch.nan)]))


def test_a_tensor_that_is_written_into_is_counted_anew() -> None:
    class Doubling(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.detach().mul_(2)

    x = torch.rand(6, 4) + 1
    model = nn.Sequential(nn.Identity(), nn.Linear(4, 4), nn.ReLU(), Doubling(), nn.Identity())
    found = calibrate(model, Task(evaluate=[x]), gradients=False).activations
    assert found["3:input"].maximum == found["2:output"].maximum > 0
    assert found["4:input"].maximum == 2 * found["3:input"].maximum


def test_what_the_order_in_memory_is_does_not_matter() -> None:
    x = torch.randn(2, 3, 4, 5)
    model = nn.Sequential(nn.Identity(), nn.Conv2d(3, 2, 1))
    one, other = (
        calibrate(model, Task(evaluate=[x.to(memory_format=form)]), activations="channels")
        for form in (torch.contiguous_format, torch.channels_last)
    )
    assert torch.equal(one.activations["1:input"].counts, other.activations["1:input"].counts)
    assert torch.equal(one.channels["1:input"].counts, other.channels["1:input"].counts)
    assert int(one.activations["1:input"].counts.sum()) == x.numel()
