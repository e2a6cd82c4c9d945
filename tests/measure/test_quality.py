import pytest
import torch
from sklearn.metrics import f1_score

from laconic.core.errors import DataError
from laconic.core.metric import Metric, metric_named
from laconic.core.task import Batch
from laconic.measure import Answer, check_labels, evaluate, wilson

ACCURACY = metric_named("accuracy")
MSE = metric_named("mse")
GENERATOR = torch.Generator().manual_seed(0)


def macro_f1(logits, labels):
    return torch.tensor(f1_score(labels, logits.argmax(-1), average="macro"))


F1 = Metric(name="f1", score=macro_f1, whole=True)


def answer(logits, labels):
    return Answer(batch=Batch(args=(torch.zeros(len(logits), 1),), labels=labels), logits=logits)


def one_hot(classes, count=3):
    return torch.nn.functional.one_hot(torch.tensor(classes), count).float()


def test_accuracy_is_the_fraction_of_hits_over_all_batches_with_wilsons_interval():
    outputs = [answer(one_hot([0, 1, 2]), torch.tensor([0, 1, 1])), answer(one_hot([2]), torch.tensor([2]))]
    score = evaluate(outputs, ACCURACY)
    expected = wilson(3, 4)
    assert (score.value, score.predictions, score.metric, score.higher_is_better) == (0.75, 4, "accuracy", True)
    assert (score.interval.low, score.interval.high) == pytest.approx((expected.low, expected.high))


def test_positions_labelled_minus_100_do_not_count():
    logits = one_hot([0, 1, 2, 0]).reshape(2, 2, 3)
    score = evaluate([answer(logits, torch.tensor([[0, -100], [-100, 1]]))], ACCURACY)
    assert (score.value, score.predictions) == (0.5, 2)


def test_squared_error_is_the_mean_over_all_values_and_its_interval_holds_it():
    outputs = [answer(torch.tensor([[1.0], [2.0]]), torch.tensor([0.0, 0.0])), answer(torch.zeros(1, 1), torch.ones(1))]
    score = evaluate(outputs, MSE)
    assert score.value == pytest.approx(2.0)
    assert score.interval.low < 2.0 < score.interval.high
    assert not score.higher_is_better


def test_a_metric_of_the_whole_sees_all_batches_at_once():
    logits, labels = torch.randn(60, 3, generator=GENERATOR), torch.randint(3, (60,), generator=GENERATOR)
    outputs = [answer(logits[i : i + 16], labels[i : i + 16]) for i in range(0, 60, 16)]
    score = evaluate(outputs, F1)
    assert score.value == pytest.approx(f1_score(labels, logits.argmax(-1), average="macro"))
    assert score.interval.low < score.value < score.interval.high
    assert score.predictions == 60


def test_the_bootstrap_is_as_wide_as_the_formula_where_there_is_one():
    logits, labels = torch.randn(400, 2, generator=GENERATOR), torch.randint(2, (400,), generator=GENERATOR)
    mean = Metric(name="mean", score=lambda x, y: (x.argmax(-1) == y).float().mean(), whole=True)
    found = evaluate([answer(logits, labels)], mean, resamples=1000).interval
    expected = evaluate([answer(logits, labels)], ACCURACY).interval
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.01)


def test_the_bootstrap_depends_on_its_seed_alone():
    outputs = [answer(torch.randn(30, 3, generator=GENERATOR), torch.arange(30) % 3)]
    torch.manual_seed(1)
    first = evaluate(outputs, F1)
    torch.manual_seed(2)
    assert evaluate(outputs, F1) == first
    assert evaluate(outputs, F1, seed=1) != first


def test_draws_without_a_value_are_left_out_and_too_few_of_them_give_no_interval():
    def auc(logits, labels):  # undefined without both classes
        return (logits[labels == 1][:, None] > logits[labels == 0]).float().mean()

    metric = Metric(name="auc", score=auc, whole=True)
    rare = [answer(torch.arange(9.0), torch.tensor([0, 0, 0, 0, 0, 0, 0, 1, 1]))]
    assert evaluate(rare, metric).interval is not None
    hopeless = Metric(
        name="auc", score=lambda x, y: auc(x, y) if torch.equal(x, torch.arange(9.0)) else torch.nan, whole=True
    )
    assert evaluate(rare, hopeless).interval is None


def test_batches_that_cannot_be_gathered_are_an_error():
    outputs = [
        answer(torch.zeros(1, 4, 3), torch.zeros(1, 4).long()),
        answer(torch.zeros(1, 5, 3), torch.zeros(1, 5).long()),
    ]
    with pytest.raises(DataError, match=r"batches differ in shape.*Pad all batches"):
        evaluate(outputs, F1)


@pytest.mark.parametrize("metric", [ACCURACY, F1])
@pytest.mark.parametrize("bad", [3, -1, 255])
def test_labels_out_of_range_are_an_error_that_says_range_and_classes(metric, bad):
    labels = torch.tensor([0, 2, bad])
    expected = rf"labels from {min(0, bad)} to {max(2, bad)}; expected 0 to 2 for the model's 3 classes"
    with pytest.raises(DataError, match=expected):
        evaluate([answer(one_hot([0, 1, 2]), labels)], metric)


def test_metrics_of_other_kinds_of_labels_are_left_alone():
    def own(logits, labels):
        return (logits.squeeze(-1) > 0) == (labels > 0)

    metric = Metric(name="yes or no", score=own)
    check_labels(torch.zeros(4, 1), torch.tensor([0, 1, 1, 0]), metric)  # one logit: yes or no
    check_labels(torch.zeros(4, 3), torch.full((4,), 7.5), metric)  # values
    check_labels(torch.zeros(4, 3), torch.ones(4, 3).long() * 9, metric)  # several labels a sample
    check_labels(torch.zeros(4, 3), torch.full((4,), 9), MSE)
    with pytest.raises(DataError, match=r"Task.train: got labels from 1 to 1; expected 0 to 0"):
        check_labels(torch.zeros(4, 1), torch.ones(4).long(), ACCURACY, part="train")


def test_labels_that_do_not_match_the_batch_are_an_error():
    with pytest.raises(DataError, match=r"labels of shape \[2\] do not fit logits of shape \[3, 3\]"):
        evaluate([answer(one_hot([0, 1, 2]), torch.tensor([0, 1]))], ACCURACY)


def test_evaluation_without_labels_is_an_error():
    with pytest.raises(DataError, match=r"Task.evaluate: the batches have no labels"):
        evaluate([answer(one_hot([0]), None)], ACCURACY)


@pytest.mark.parametrize("whole", [True, False])
def test_a_metric_that_returns_nan_is_an_error(whole):
    metric = Metric(name="broken", score=lambda x, y: torch.tensor([torch.nan])[0 if whole else slice(1)], whole=whole)
    with pytest.raises(DataError, match=r"Task.metric: 'broken' returned nan"):
        evaluate([answer(one_hot([0]), torch.tensor([0]))], metric)


def test_an_infinite_score_is_an_error():
    with pytest.raises(DataError, match=r"'mse' returned inf"):
        evaluate([answer(torch.full((2, 1), 1e30), torch.zeros(2))], MSE)


def test_labels_that_are_all_ignored_are_an_error():
    with pytest.raises(DataError, match=r"0 predictions count"):
        evaluate([answer(one_hot([0, 1]), torch.tensor([-100, -100]))], ACCURACY)


def test_a_mean_over_the_batch_where_scores_are_expected_is_an_error():
    metric = Metric(name="reduced", score=lambda x, y: torch.tensor(0.5))
    with pytest.raises(DataError, match=r"'reduced' returned one number for 2 samples.*whole=True"):
        evaluate([answer(one_hot([0, 1]), torch.tensor([0, 1]))], metric)


def test_a_metric_that_fails_is_an_error_with_its_words_and_the_shapes():
    metric = Metric(name="own", score=lambda x, y: x + torch.zeros(7))
    with pytest.raises(DataError, match=r"'own' fails on logits of shape \[2, 3\] and labels of shape \[2\]: The size"):
        evaluate([answer(one_hot([0, 1]), torch.tensor([0, 1]))], metric)
