"""Half precision."""

import pytest
import torch

from laconic.core.codings import Half
from laconic.core.errors import UsageError


def test_values_move_by_at_most_one_part_in_2048() -> None:
    values = torch.logspace(-4.2, 4.8, 5000) * torch.tensor([1.0, -1.0]).repeat(2500)
    moved = (Half.of(values).decode().double() - values.double()).abs()
    assert (moved <= values.double().abs() / 2048).all()


def test_two_bytes_a_value() -> None:
    assert Half.of(torch.randn(3, 5)).size_bytes == 30


def test_values_too_large_become_the_largest() -> None:
    assert Half.of(torch.tensor([-1e9, 7e4])).decode().tolist() == [-65504.0, 65504.0]


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_what_is_not_finite_is_refused(bad: float) -> None:
    with pytest.raises(UsageError, match="NaN or infinity"):
        Half.of(torch.tensor([bad]))
    with pytest.raises(UsageError, match="finite float16"):
        Half(torch.tensor([bad], dtype=torch.float16))
