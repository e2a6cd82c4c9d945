import pytest

from laconic.core import errors
from laconic.core.errors import LaconicError, UsageError, invalid


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
