import math

import pytest
import torch
from torch import Tensor

from laconic.core.errors import DataError, UsageError
from laconic.core.metric import (
    METRICS,
    Metric,
    class_last,
    correct,
    metric_named,
    squared_errors,
    surprise,
    values_like,
)


def test_correct_is_one_where_the_largest_logit_is_the_labels() -> None:
    logits = torch.tensor([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]])
    assert correct(logits, torch.tensor([1, 1, 1])).tolist() == [1.0, 0.0, 1.0]


def test_positions_labelled_minus_100_do_not_count() -> None:
    scores = correct(torch.tensor([[[1.0, 0.0], [1.0, 0.0]]]), torch.tensor([[0, -100]]))
    assert scores.shape == (1, 2)
    assert scores[0, 0] == 1.0
    assert scores[0, 1].isnan()


@pytest.mark.parametrize("shape", [(), (3,), (3, 4), (3, 4, 5)])
def test_the_class_dimension_may_be_last_or_second(shape: tuple[int, ...]) -> None:
    last, labels = torch.randn(*shape, 7), torch.randint(7, shape)
    assert class_last(last, labels) is last
    if shape:
        second = last.movedim(-1, 1)
        assert torch.equal(class_last(second, labels), last)
        assert torch.equal(correct(second, labels), correct(last, labels))


def test_where_both_fit_the_class_dimension_is_the_last() -> None:
    logits, labels = torch.randn(2, 4, 4), torch.zeros(2, 4)
    assert class_last(logits, labels) is logits


@pytest.mark.parametrize("labels", [torch.zeros(3), torch.zeros(2, 5), torch.zeros(2, 1), torch.zeros(())])
def test_labels_that_fit_no_dimension_are_refused_with_both_shapes(labels: Tensor) -> None:
    with pytest.raises(DataError, match=r"labels of shape \[.*\] do not fit logits of shape \[2, 5\]") as caught:
        class_last(torch.zeros(2, 5), labels)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
@pytest.mark.parametrize("label_shape", [(3,), (3, 1)])
def test_squared_errors_take_a_last_dimension_of_one_or_none(
    shape: tuple[int, ...], label_shape: tuple[int, ...]
) -> None:
    values, labels = torch.tensor([1.0, 2.0, 3.0]).view(shape), torch.tensor([1.0, 0.0, 6.0]).view(label_shape)
    assert squared_errors(values, labels).tolist() == torch.tensor([0.0, 4.0, 9.0]).view(label_shape).tolist()


@pytest.mark.parametrize("shape", [(3, 2), (6,), (2, 3, 2)])
def test_values_of_another_shape_are_refused_even_where_the_count_fits(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"labels of shape \[2, 3\] do not fit outputs of shape"):
        values_like(torch.zeros(shape), torch.zeros(2, 3))


def test_surprise_is_minus_the_log_probability_of_the_label() -> None:
    logits = torch.tensor([[[0.0, math.log(3.0)], [5.0, -5.0]]])
    found = surprise(logits, torch.tensor([[1, -100]]))
    assert found[0, 0] == pytest.approx(math.log(4 / 3)) and bool(found[0, 1].isnan())
    half = surprise(logits.half(), torch.tensor([[0, 0]]))
    assert half.dtype == torch.float32 and half[0, 0] == pytest.approx(math.log(4), abs=1e-3)


@pytest.mark.parametrize("label", [2, -1])
def test_a_label_that_is_no_class_is_refused(label: int) -> None:
    with pytest.raises(DataError, match=f"labels from {min(label, 0)} to {max(label, 0)} do not fit 2 classes"):
        surprise(torch.zeros(3, 2), torch.tensor([0, label, -100]))


def test_metrics_are_found_by_name_or_taken_as_they_are() -> None:
    own = Metric(name="own", score=correct)
    assert metric_named(own) is own
    assert [metric_named(metric.name) for metric in METRICS] == list(METRICS)
    assert metric_named("mse").regression
    assert not metric_named("mse").higher_is_better


def test_an_unknown_metric_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        UsageError,
        match=r"Task.metric: got 'acuracy'; expected one of 'accuracy', 'cross entropy', 'mse', or a laconic",
    ):
        metric_named("acuracy")
