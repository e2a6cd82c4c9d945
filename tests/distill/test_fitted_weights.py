import pytest
import torch
from torch import Tensor, nn

from laconic.core.errors import DataError, UsageError
from laconic.core.task import Task
from laconic.distill import fitted_weights


class Says(nn.Module):
    """Gives the first class some probability, whatever it is asked."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.logits = torch.tensor([probability, 1 - probability]).log()

    def forward(self, x: Tensor) -> Tensor:
        return self.logits.expand(len(x), 2)


def task_of(*labels: int) -> Task:
    return Task(evaluate=[(torch.zeros(len(labels), 1), torch.tensor(labels))])


def test_the_mixture_has_the_frequencies_of_the_labels_where_it_can() -> None:
    # 0.9 w + 0.2 (1 - w) = 3/4 at w = 11/14, the one best value.
    found = fitted_weights([Says(0.9), Says(0.2)], task_of(0, 0, 0, 1), part="evaluate")
    assert found == pytest.approx((11 / 14, 3 / 14), abs=1e-5)


def test_a_member_that_never_helps_all_but_vanishes_and_labels_of_minus_100_do_not_count() -> None:
    found = fitted_weights([Says(0.9), Says(0.2)], task_of(0, 0, 0, -100, -100), part="evaluate")
    assert found[0] > 0.999
    assert found[1] > 0
    assert sum(found) == pytest.approx(1)


def test_data_without_labels_and_no_members_are_refused() -> None:
    with pytest.raises(DataError, match="a batch has no labels"):
        fitted_weights([Says(0.5)], Task(evaluate=[torch.zeros(2, 1)]), part="evaluate")
    with pytest.raises(DataError, match="no label counts"):
        fitted_weights([Says(0.5)], task_of(-100), part="evaluate")
    with pytest.raises(UsageError, match=r"fitted_weights\.members: got \[\]"):
        fitted_weights([], task_of(0))
