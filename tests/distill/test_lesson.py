import pytest
import torch

from laconic.core.errors import DataError
from laconic.core.task import cross_entropy
from laconic.distill import label_loss
from laconic.distill.lesson import check_range


def test_the_loss_on_labels_is_the_criterion_s() -> None:
    logits, labels = torch.randn(4, 3), torch.tensor([0, 1, 2, -100])
    assert label_loss(logits, labels, cross_entropy) == cross_entropy(logits, labels)


def test_a_negative_label_is_out_of_range() -> None:
    with pytest.raises(DataError, match="labels from -1 to 2, but the model has 3 classes"):
        label_loss(torch.zeros(2, 3), torch.tensor([-1, 2]), cross_entropy)


def test_an_index_error_of_a_criterion_that_is_not_about_labels_stays_what_it_is() -> None:
    def broken(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        raise IndexError("mine")

    with pytest.raises(IndexError, match="mine"):
        label_loss(torch.zeros(2, 3), torch.tensor([0, 2]), broken)


@pytest.mark.parametrize("labels", [[0, 2], [-100, 1], [-100, -100]])
def test_labels_in_range_pass(labels: list[int]) -> None:
    check_range(torch.zeros(2, 3), torch.tensor(labels))
