import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laconic.core.errors import UsageError
from laconic.train import Constant, Cosine, Linear

KINDS = (Constant, Linear, Cosine)


@pytest.mark.parametrize("kind", KINDS)
@given(total=st.integers(1, 200), warmup=st.floats(0, 1, exclude_max=True))
def test_the_factor_rises_while_warming_up_then_never_rises_and_is_positive(
    kind: type[Cosine], total: int, warmup: float
) -> None:
    factors = [kind(warmup=warmup)(step, total) for step in range(total)]
    peak = max(range(total), key=lambda step: factors[step])
    assert all(0 < f <= 1 for f in factors)
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)
    assert peak <= math.ceil(warmup * total)


def test_hand_worked_values() -> None:
    assert [Constant(warmup=0.5)(step, 4) for step in range(4)] == [0.5, 1, 1, 1]
    assert [Linear()(step, 4) for step in range(4)] == [1, 0.75, 0.5, 0.25]
    assert [Linear(final=0.5)(step, 4) for step in range(4)] == [1, 0.875, 0.75, 0.625]
    root = math.sqrt(0.5)
    assert [Cosine()(step, 4) for step in range(4)] == pytest.approx([1, (1 + root) / 2, 0.5, (1 - root) / 2])
    assert Cosine(final=0.2)(2, 4) == pytest.approx(0.6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_warmup_of_the_whole_run_is_refused(kind: type[Cosine]) -> None:
    with pytest.raises(UsageError, match=rf"{kind.__name__}\.warmup: got 1"):
        kind(warmup=1)


@pytest.mark.parametrize("kind", KINDS[1:])
def test_a_final_factor_above_one_is_refused(kind: type[Cosine]) -> None:
    with pytest.raises(UsageError, match=rf"{kind.__name__}\.final: got 2"):
        kind(final=2)
