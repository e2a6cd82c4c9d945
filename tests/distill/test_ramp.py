import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laconic.core.errors import UsageError
from laconic.distill import Ramp


def test_hand_worked_values() -> None:
    assert [Ramp(start=2, end=4)(u) for u in (0, 0.25, 1)] == [2, 2.5, 4]
    assert [Ramp(shape="cubic")(u) for u in (0, 0.5, 1)] == [0, 0.125, 1]
    assert Ramp(shape="cosine")(1 / 3) == pytest.approx(0.25)
    assert [Ramp(after=0.2, until=0.6)(u) for u in (0.1, 0.4, 0.9)] == pytest.approx([0, 0.5, 1])


@given(
    start=st.floats(0, 10),
    end=st.floats(0, 10),
    shape=st.sampled_from(["linear", "cosine", "cubic"]),
    ends=st.tuples(st.floats(0, 1), st.floats(0, 1)).filter(lambda e: e[1] - e[0] > 1e-3),
)
def test_factors_lie_between_start_and_end_and_never_turn_back(
    start: float, end: float, shape: str, ends: tuple
) -> None:
    factors = [Ramp(start=start, end=end, shape=shape, after=ends[0], until=ends[1])(i / 20) for i in range(21)]
    slack = 1e-9
    assert all(min(start, end) - slack <= f <= max(start, end) + slack for f in factors)
    steps = [(b - a) * (1 if end >= start else -1) for a, b in itertools.pairwise(factors)]
    assert min(steps) >= -slack
    assert (factors[0], factors[-1]) == pytest.approx((start, end))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"start": -1}, r"Ramp\.start: got -1"),
        ({"end": math.inf}, r"Ramp\.end: got inf"),
        ({"shape": "step"}, r"Ramp\.shape: got 'step'"),
        ({"after": 0.5, "until": 0.5}, r"Ramp\.after, until: got \(0\.5, 0\.5\)"),
        ({"until": 1.5}, r"Ramp\.after, until"),
    ],
)
def test_values_outside_their_domain_are_refused(options: dict, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        Ramp(**options)
