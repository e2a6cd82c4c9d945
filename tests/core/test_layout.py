"""Tensors laid out as matrices."""

import pytest
import torch

from laconic.core.errors import UsageError
from laconic.core.layout import Layout

KERNELS = Layout(shape=(8, 4, 3, 5), split=(2, 4, 4, 3, 5), order=(0, 1, 3, 4, 2), matrix=(2, 4, 60))


def test_view_puts_what_it_says_where_it_says() -> None:
    weight = torch.randn(8, 4, 3, 5)
    seen = KERNELS.view(weight)
    assert torch.equal(seen[1, 2].view(3, 5, 4), weight[6].permute(1, 2, 0))


def test_restore_undoes_view() -> None:
    weight = torch.randn(8, 4, 3, 5)
    assert torch.equal(KERNELS.restore(KERNELS.view(weight)), weight)


@pytest.mark.parametrize("shape", [(), (7,), (3, 0), (2, 3, 4)])
def test_the_plain_layout_has_the_first_dimension_as_rows(shape: tuple[int, ...]) -> None:
    layout, weight = Layout.rows(shape), torch.randn(shape)
    assert torch.equal(layout.view(weight)[0], weight.reshape(layout.matrix[1:]))
    assert torch.equal(layout.restore(layout.view(weight)), weight)


def test_config_comes_back() -> None:
    assert Layout.from_config(KERNELS.config()) == KERNELS


def test_other_numbers_of_elements_are_refused() -> None:
    with pytest.raises(UsageError, match=r"Layout\.split: got \[2, 3\]; expected as many elements as \[6\] has"):
        Layout(shape=(6,), split=(2, 3), order=(0, 1), matrix=(1, 2, 2))


def test_an_order_that_is_no_permutation_is_refused() -> None:
    with pytest.raises(UsageError, match=r"Layout\.order: got \[0, 0\]; expected a permutation of 2 dimensions"):
        Layout(shape=(6,), split=(2, 3), order=(0, 0), matrix=(1, 2, 3))
