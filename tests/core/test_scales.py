"""Scales in two bytes."""

import pytest
import torch

from laconic.core.scales import short


def test_scales_move_by_at_most_one_part_in_2048() -> None:
    scale = torch.logspace(-4.2, 4.8, 3000)
    rounded = short(scale)
    assert rounded.dtype == torch.float16
    assert ((rounded.double() - scale.double()).abs() <= scale.double() / 2048).all()


@pytest.mark.parametrize("bad", [1e-5, 7e4, 0.0])
def test_one_scale_out_of_range_keeps_all_as_they_are(bad: float) -> None:
    scale = torch.tensor([0.1, bad])
    assert short(scale) is scale


def test_no_scales_are_short() -> None:
    assert short(torch.empty(0)).dtype == torch.float16
