import torch
from hypothesis import given
from hypothesis import strategies as st

from laconic.distill import Pair


@given(seed=st.integers(0, 10**6), width=st.integers(1, 4))
def test_the_mean_is_over_the_positions_that_count(seed: int, width: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    errors = torch.randn(3, 5, width, generator=generator).double()
    mask = torch.rand(3, 5, generator=generator) < 0.6
    mask[0, 0] = True
    pair = Pair(student=errors, teacher=errors, mask=mask)
    torch.testing.assert_close(pair.mean(errors), errors[mask].mean())


def test_without_one_position_that_counts_the_mean_is_zero() -> None:
    x = torch.ones(2, 3, 4)
    assert Pair(student=x, teacher=x, mask=torch.zeros(2, 3, dtype=torch.bool)).mean(x) == 0


def test_a_mask_of_another_shape_is_not_applied() -> None:
    x = torch.randn(2, 4)
    pair = Pair(student=x, teacher=x, mask=torch.zeros(2, 3, dtype=torch.bool))
    assert pair.mean(x) == x.mean()
    assert torch.equal(pair.rows()[0], x)


def test_rows_have_zeros_where_a_position_does_not_count() -> None:
    x = torch.arange(1.0, 13.0).view(2, 3, 2)
    mask = torch.tensor([[True, False, True], [True, True, False]])
    student, teacher = Pair(student=x, teacher=-x, mask=mask).rows()
    assert student.tolist() == [[1, 2, 0, 0, 5, 6], [7, 8, 9, 10, 0, 0]]
    assert torch.equal(teacher, -student)


def test_half_precision_becomes_float32_and_double_stays() -> None:
    half, double = torch.ones(1, 2).half(), torch.ones(1, 2).double()
    pair = Pair(student=half, teacher=double)
    assert (pair.student.dtype, pair.teacher.dtype) == (torch.float32, torch.float64)


def test_no_gradient_reaches_the_teacher() -> None:
    x = torch.ones(1, 2, requires_grad=True)
    assert not Pair(student=x, teacher=x).teacher.requires_grad
