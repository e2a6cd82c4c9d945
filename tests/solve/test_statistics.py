import torch
from torch import nn

from laconic.solve.statistics import Moments, absorbing


def test_moments_are_those_of_all_values_of_a_channel() -> None:
    values = torch.randn(10, 3, 4, 5) * 3 + 1
    moments = Moments.of(values.split(4), 1)
    rows = values.double().transpose(0, 1).flatten(1)
    assert moments.count == 200
    assert torch.allclose(moments.mean, rows.mean(1))
    assert torch.allclose(moments.variance, rows.var(1, correction=0))


def test_a_normalisation_answers_to_stretched_and_shifted_inputs_as_before() -> None:
    norm = nn.BatchNorm1d(3).eval()
    norm.running_mean.copy_(torch.tensor([0.3, -1.0, 2.0]))
    norm.running_var.copy_(torch.tensor([0.5, 2.0, 4.0]))
    x = torch.randn(500, 3) * torch.tensor([0.5, 1.5, 3.0])
    changed = x * torch.tensor([0.7, 1.3, 2.0]) + torch.tensor([1.0, -2.0, 0.1])
    wanted = norm(x)
    for name, value in absorbing(norm, Moments.of([x], 1), Moments.of([changed], 1)).items():
        getattr(norm, name).copy_(value)
    # The small constant that keeps the division finite is not stretched along.
    assert torch.allclose(norm(changed), wanted, atol=1e-3)


def test_unchanged_inputs_leave_the_statistics_bit_for_bit() -> None:
    norm, x = nn.BatchNorm1d(4), torch.randn(50, 4)
    norm(x)
    found = absorbing(norm, Moments.of([x], 1), Moments.of([x], 1))
    assert torch.equal(found["running_mean"].float(), norm.running_mean)
    assert torch.equal(found["running_var"].float(), norm.running_var)
