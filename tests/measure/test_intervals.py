import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from laconic.measure import wilson
from laconic.measure.intervals import Tally


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_values_of_newcombe_1998_table_1_method_3(successes, trials, low, high):
    found = wilson(successes, trials)
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)


@given(trials=st.integers(1, 10_000), data=st.data())
def test_wilson_lies_in_0_to_1_holds_the_fraction_and_has_a_width(trials, data):
    successes = data.draw(st.integers(0, trials))
    found = wilson(successes, trials)
    assert 0 <= found.low <= successes / trials <= found.high <= 1
    assert found.low < found.high


@given(hits=st.lists(st.booleans(), min_size=1, max_size=60), cut=st.integers(1, 60))
def test_one_score_of_0_or_1_a_sample_gets_exactly_wilsons_interval_however_it_is_batched(hits, cut):
    tally = Tally()
    for part in (hits[:cut], hits[cut:]):
        if part:
            tally.add(torch.tensor(part).float(), samples=len(part))
    expected = wilson(sum(hits), len(hits))
    found = tally.interval()
    assert tally.mean == pytest.approx(sum(hits) / len(hits))
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_tokens_that_are_right_or_wrong_together_count_as_one_trial_a_sample():
    tally = Tally()
    hits = torch.tensor([1.0] * 30 + [0.0] * 10)
    tally.add(hits[:, None].expand(40, 50), samples=40)
    expected = wilson(30, 40)
    assert (tally.interval().low, tally.interval().high) == pytest.approx((expected.low, expected.high))
    assert (tally.samples, tally.predictions) == (40, 2000)


def test_all_tokens_right_is_no_surer_than_as_many_samples_right():
    tally = Tally()
    tally.add(torch.ones(8, 100), samples=8)
    assert tally.interval() == wilson(8, 8)


def test_predictions_that_balance_each_other_count_at_most_one_trial_each():
    tally = Tally()
    tally.add(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]), samples=3)
    assert tally.interval() == wilson(3, 6)


def test_values_that_are_not_0_or_1_get_students_interval_of_their_mean():
    tally = Tally()
    tally.add(torch.tensor([1.0, 2.0, 4.0, 9.0]), samples=4)
    half = 3.182446 * math.sqrt(38 / 3 / 4)  # t(3 degrees, 97.5 %); squared deviations from 4: 9 + 4 + 0 + 25
    found = tally.interval()
    assert (found.low, found.high) == pytest.approx((4 - half, 4 + half), rel=1e-6)


def test_nan_scores_do_not_count():
    tally = Tally()
    tally.add(torch.tensor([[1.0, torch.nan], [0.0, 0.0], [torch.nan, torch.nan]]), samples=3)
    assert (tally.mean, tally.predictions, tally.samples) == (pytest.approx(1 / 3), 3, 2)


def test_scores_that_were_flattened_still_belong_to_their_samples():
    scores = torch.rand(6, 5, generator=torch.Generator().manual_seed(0))
    flat, square = Tally(), Tally()
    flat.add(scores.flatten(), samples=6)
    square.add(scores, samples=6)
    assert flat.interval() == square.interval()


def test_no_interval_is_claimed_from_nothing_or_from_one_sample_of_free_values():
    nothing, one = Tally(), Tally()
    one.add(torch.tensor([0.3]), samples=1)
    assert nothing.interval() is None
    assert math.isnan(nothing.mean)
    assert one.interval() is None
