import pytest
import torch
from torch import Tensor

from laconic.calibrate.predictions import pull


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_the_error_is_the_softmax_minus_a_drawn_label() -> None:
    logits = torch.randn(50, 3)
    error, predictions = pull(logits, None, generator(), regression=False)
    drawn = logits.softmax(-1) - error
    assert predictions == 50
    torch.testing.assert_close(drawn.sort(-1).values, torch.tensor([0.0, 0.0, 1.0]).expand(50, 3), atol=1e-6, rtol=0)


def test_labels_are_drawn_as_often_as_the_model_says() -> None:
    logits = torch.tensor([2.0, 0.0, -torch.inf]).expand(20_000, 3)
    error, _ = pull(logits, None, generator(), regression=False)
    often = (logits.softmax(-1) - error).mean(0)
    torch.testing.assert_close(often, logits[0].softmax(-1), atol=0.01, rtol=0)


def test_classes_may_come_first_as_in_segmentation() -> None:
    logits, labels = torch.randn(2, 5, 3, 4), torch.zeros(2, 3, 4, dtype=torch.int64)
    error, predictions = pull(logits, labels, generator(), regression=False)
    assert (error.shape, predictions) == (logits.shape, 24)
    torch.testing.assert_close(error.sum(1), torch.zeros(2, 3, 4), atol=1e-6, rtol=0)


def test_padding_is_neither_counted_nor_felt() -> None:
    labels = torch.tensor([[1, -100], [-100, 0]])
    error, predictions = pull(torch.randn(2, 2, 3), labels, generator(), regression=False)
    assert predictions == 2
    assert error.abs().sum(-1).gt(0).tolist() == [[True, False], [False, True]]


@pytest.mark.parametrize(
    ("logits", "labels"),
    [(torch.zeros(8), None), (torch.zeros(8, 1), torch.zeros(8)), (torch.zeros(4, 2), torch.zeros(4, 2))],
)
def test_logits_that_stand_alone_are_a_yes_or_no_each(logits: Tensor, labels: Tensor | None) -> None:
    error, predictions = pull(logits, labels, generator(), regression=False)
    assert predictions == 8
    assert error.abs().unique().tolist() == [0.5]


def test_outputs_of_a_regression_are_pulled_by_unit_gaussians() -> None:
    error, predictions = pull(torch.randn(100, 100), None, generator(), regression=True)
    assert predictions == 10_000
    assert float(error.var()) == pytest.approx(1, abs=0.05)


def test_the_error_has_the_type_of_the_logits() -> None:
    assert pull(torch.zeros(2, 3).bfloat16(), None, generator(), regression=False).error.dtype == torch.bfloat16
