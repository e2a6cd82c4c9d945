import pytest
import torch

from laconic.core import errors
from laconic.core.errors import LaconicError, UsageError, check_fraction, check_whole, invalid


def test_every_error_is_of_the_one_family() -> None:
    kinds = [k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, Exception)]
    assert len(kinds) == 7
    assert all(issubclass(kind, LaconicError) for kind in kinds)


def test_a_usage_error_is_also_a_value_error() -> None:
    assert issubclass(UsageError, ValueError)


@pytest.mark.parametrize("mend", ["", "Write 0.5."])
def test_invalid_says_where_what_and_how_to_mend_in_one_line(mend: str) -> None:
    said = str(invalid("X.y", "z", "a number", mend))
    assert said == f"X.y: got 'z'; expected a number. {mend}".strip()
    assert "\n" not in said


@pytest.mark.parametrize("value", [1, 9, 4.0, 4.5, True, "4", None, torch.nan])
def test_what_is_no_whole_number_of_the_range_is_refused(value: object) -> None:
    with pytest.raises(UsageError, match=rf"^X\.bits: got {value!r}; expected a whole number from 2 to 8"):
        check_whole("X.bits", value, 2, 8)


def test_whole_numbers_of_the_range_pass_and_one_without_an_end_is_said() -> None:
    check_whole("X.bits", 2, 2, 8)
    check_whole("X.bits", 8, 2, 8)
    check_whole("X.rounds", 10**9, 0)
    with pytest.raises(UsageError, match=r"^X\.rounds: got -1; expected a whole number of at least 0"):
        check_whole("X.rounds", -1, 0)


@pytest.mark.parametrize("value", [-0.1, 1, 1.0, True, False, "0.5", None, torch.nan])
def test_what_is_no_fraction_below_one_is_refused(value: object) -> None:
    with pytest.raises(UsageError, match=rf"^X\.ratio: got {value!r}; expected a fraction in \[0, 1\)"):
        check_fraction("X.ratio", value)


@pytest.mark.parametrize("value", [0, 0.0, 0.999])
def test_fractions_below_one_pass(value: float) -> None:
    check_fraction("X.ratio", value)
