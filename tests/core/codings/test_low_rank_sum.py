"""A thin product plus another coding."""

import pytest
import torch

from core.samples import low_rank_sum, symmetric
from laconic.core.codings import Dense, LowRankSum
from laconic.core.errors import UsageError
from laconic.core.layout import Layout

WEIGHT = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


def test_it_is_the_product_plus_the_rest() -> None:
    coding = low_rank_sum(WEIGHT, symmetric(WEIGHT, 4))
    expected = coding.left[0].double() @ coding.right[0].double() + coding.rest.decode().double()
    assert torch.allclose(coding.decode().double(), expected, atol=1e-5)


def test_another_weight_keeps_the_product_and_codes_what_it_leaves() -> None:
    coding = low_rank_sum(WEIGHT, Dense.of(WEIGHT))
    other = coding.encode(torch.ones(6, 4))
    assert torch.equal(other.left, coding.left) and torch.equal(other.right, coding.right)
    assert torch.allclose(other.rest.decode(), 1 - coding.product(), atol=1e-6)


def test_size_is_both_factors_and_the_rest() -> None:
    rest = symmetric(WEIGHT, 4)
    assert low_rank_sum(WEIGHT, rest).size_bytes == 2 * 2 * (6 + 4) + rest.size_bytes


@pytest.mark.parametrize(
    ("change", "setting"),
    [
        ({"left": torch.zeros(1, 5, 1)}, "left"),
        ({"left": torch.full((1, 6, 1), torch.nan)}, "left"),
        ({"right": torch.zeros(1, 2, 4)}, "right"),
        ({"right": torch.zeros(1, 1, 4, dtype=torch.float64)}, "right"),
        ({"rest": Dense.of(torch.zeros(4, 6))}, "rest"),
    ],
)
def test_parts_that_do_not_fit_are_refused(change: dict, setting: str) -> None:
    parts = {
        "left": torch.zeros(1, 6, 1),
        "right": torch.zeros(1, 1, 4),
        "rest": Dense.of(WEIGHT),
        "layout": Layout.rows((6, 4)),
    }
    with pytest.raises(UsageError, match=f"LowRankSum.{setting}"):
        LowRankSum(**(parts | change))
