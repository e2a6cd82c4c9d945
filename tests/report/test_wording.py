import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laconic.report import wording

AMOUNTS = st.floats(min_value=1e-9, max_value=1e12)


@given(AMOUNTS)
def test_significant_digits_are_off_by_at_most_half_of_the_last_one(value: float) -> None:
    said = float(wording.significant(value).replace(",", ""))
    assert abs(said - value) <= 0.5 * 10 ** (math.floor(math.log10(value)) - 2) * (1 + 1e-9)


@given(st.integers(min_value=0, max_value=10**13))
def test_a_size_in_words_is_within_half_a_percent_of_the_bytes(count: int) -> None:
    number, unit = wording.byte_size(count).split(" ")
    factor = {"B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9}[unit]
    assert float(number.replace(",", "")) * factor == pytest.approx(count, rel=0.005)


@given(st.floats(min_value=1e-4, max_value=1e4))
def test_a_ratio_and_its_inverse_are_said_with_opposite_words(ratio: float) -> None:
    said, inverse = (wording.change(r, "smaller", "LARGER") for r in (ratio, 1 / ratio))
    if "the same" not in (said, inverse):
        assert {said.split()[-1], inverse.split()[-1]} == {"smaller", "LARGER"}


@given(st.text(min_size=1), st.integers(min_value=3, max_value=40))
def test_a_shortened_name_fits_and_keeps_both_ends(name: str, length: int) -> None:
    said = wording.shortened(name, length)
    assert len(said) <= length
    assert (said[0], said[-1]) == (name[0], name[-1])


def test_only_what_lies_within_half_a_percent_is_called_the_same() -> None:
    assert wording.change(1.004, "faster", "SLOWER") == "the same"
    assert wording.change(1.02, "faster", "SLOWER") == "1.02x SLOWER"
    assert wording.change(0.98, "faster", "SLOWER") == "1.02x faster"


def test_accuracies_are_said_in_percent_and_their_changes_in_points() -> None:
    assert wording.score(355 / 360, "accuracy") == "98.61 %"
    assert wording.score_change(-1 / 360, "accuracy") == "-0.28 points"
    assert wording.score_change(0.0013, "mse") == "+0.001300"
