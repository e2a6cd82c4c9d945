import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laconic.core.budget import UNITS, Budget, Limit, Miss
from laconic.core.errors import UsageError

UNIT_CASES = [(name, unit, factor) for name, units in UNITS.items() for unit, factor in units.items()]


def limit_of(name: str, given_limit: object) -> Limit:
    return Budget(**{name: given_limit}).limits[name]


@pytest.mark.parametrize(("name", "unit", "factor"), UNIT_CASES)
def test_every_unit_is_read_with_and_without_a_space_in_any_case(name: str, unit: str, factor: float) -> None:
    for text in (f"2 {unit}", f"2{unit}", f"  2.0  {unit.lower()} ", f"20e-1 {unit.upper()}"):
        assert limit_of(name, text) == Limit(2 * factor, relative=False)


@pytest.mark.parametrize("name", UNITS)
@pytest.mark.parametrize("share", [0.25, "0.25", "25%", "25 %", "2.5e1 %"])
def test_a_share_of_the_original_is_read(name: str, share: float | str) -> None:
    assert limit_of(name, share) == Limit(0.25, relative=True)


def test_the_whole_is_a_share() -> None:
    assert limit_of("size", 1) == limit_of("size", "100 %") == Limit(1.0, relative=True)


@pytest.mark.parametrize("drop", [0.01, "0.01", "1%", "1 %"])
def test_a_drop_is_read(drop: float | str) -> None:
    assert Budget(drop=drop).allowed_drop == 0.01


def test_a_drop_may_be_zero() -> None:
    assert Budget(drop=0).allowed_drop == 0.0


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("size", 0, "Budget.size: got 0; expected a fraction .* or an amount such as '3 KB'. A limit must be positive"),
        ("size", -0.5, "Budget.size: got -0.5; .* A limit must be positive and finite."),
        ("size", math.nan, "Budget.size: got nan; .* must be positive"),
        ("size", math.inf, "Budget.size: got inf; .* must be positive and finite"),
        ("size", "1e999 MB", "Budget.size: got '1e999 MB'; .* must be positive and finite"),
        ("size", 4, "Budget.size: got 4; .* share of the original: for 50 % write 0.5."),
        ("size", "4", "Budget.size: got '4'; .* share of the original"),
        ("size", "150 %", "Budget.size: got '150 %'; .* share of the original"),
        ("size", "-2 MB", "Budget.size: got '-2 MB'; .* must be positive"),
        ("size", "0 MB", "Budget.size: got '0 MB'; .* must be positive"),
        ("size", "2 ms", "Budget.size: got '2 ms'; expected one of the units B, KB, MB, GB, KiB, MiB, GiB, %"),
        ("size", "small", "Budget.size: got 'small'; expected a fraction of the original"),
        ("size", "nan", "Budget.size: got 'nan'; expected a fraction of the original"),
        ("size", "", "Budget.size: got ''; expected a fraction of the original"),
        ("macs", "3 M", "Budget.macs: got '3 M'; expected one of the units MACs, KMACs, MMACs, GMACs, %"),
        ("latency", "3 minutes", "Budget.latency: got '3 minutes'; expected one of the units us, ms, s, %"),
        ("latency", 3, "Budget.latency: got 3; expected .* such as '3 ms'. A number without unit is a share"),
        ("memory", "2 TB", "Budget.memory: got '2 TB'; expected one of the units B"),
        ("drop", -0.01, "Budget.drop: got -0.01; expected a number of at least 0"),
        ("drop", math.nan, "Budget.drop: got nan; expected a number of at least 0"),
        ("drop", math.inf, "Budget.drop: got inf; expected a number of at least 0"),
        ("drop", "2 ms", "Budget.drop: got '2 ms'; .* write 0.01 or '1 %'."),
        ("drop", "little", "Budget.drop: got 'little'; expected a number of at least 0"),
    ],
)
def test_what_is_no_limit_is_refused_in_one_clear_line(name: str, wrong: object, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        Budget(**{name: wrong})
    assert "\n" not in str(caught.value)


limits = st.floats(1e-6, 1.0) | st.builds("{!r} {}".format, st.floats(1e-3, 1e15), st.just("{unit}"))


@given(st.data())
def test_config_reads_back_as_the_same_budget(data: st.DataObject) -> None:
    settings: dict[str, float | str] = {}
    for name, units in UNITS.items():
        drawn = data.draw(st.none() | limits)
        if drawn is not None:
            settings[name] = (
                drawn.format(unit=data.draw(st.sampled_from(list(units)))) if isinstance(drawn, str) else drawn
            )
    if data.draw(st.booleans()):
        settings["drop"] = data.draw(st.floats(0, 10))
    budget = Budget(**settings)
    assert Budget(**budget.config()) == budget


def test_a_budget_says_what_it_asks() -> None:
    budget = Budget(size="2 MB", macs="30 MMACs", latency=0.5, memory="1 GiB", drop=0.005)
    assert str(budget) == (
        "size <= 2,000,000 B, macs <= 30,000,000 MACs, latency <= 50% of the original, memory <= 1,073,741,824 B, "
        "drop <= 0.005"
    )
    assert Budget(drop=0.005).said(share=True) == "drop <= 0.5 points"
    assert str(Budget()) == "no limits"


ORIGINAL = {"size": 1000.0, "macs": 100.0, "latency": 8.0, "memory": 5e6}


def test_a_budget_that_holds_misses_nothing() -> None:
    budget = Budget(size=0.25, macs="50 MACs", latency=0.5, memory="5 MB", drop=0.01)
    assert budget.misses(ORIGINAL, {"size": 250, "macs": 50, "latency": 4.0, "memory": 5e6}, drop=0.01) == ()


def test_every_limit_that_is_not_met_is_named_with_its_figures() -> None:
    budget = Budget(size=0.25, latency="3 ms", drop=0.01)
    missed = budget.misses(ORIGINAL, {"size": 300, "latency": 3.3}, drop=0.02)
    assert missed == (Miss("size", 300, 250.0), Miss("latency", 3.3, 3.0), Miss("drop", 0.02, 0.01))
    assert [str(miss) for miss in missed] == [
        "size: 300 B, at most 250 B allowed, 20.0% over",
        "latency: 3.3 ms, at most 3 ms allowed, 10.0% over",
        "drop: 0.02 lost, at most 0.01 allowed",
    ]
    assert missed[-1].said(share=True) == "drop: 2 points lost, at most 1 point allowed"


def test_figures_that_are_not_limited_need_not_be_known() -> None:
    assert Budget(size=0.5).misses({"size": 10.0}, {"size": 5.0}, drop=1.0) == ()


def test_a_gain_is_no_drop() -> None:
    assert Budget(drop=0).misses({}, {}, drop=-0.1) == ()


def test_a_drop_that_only_binary_makes_too_large_passes() -> None:
    assert 0.93 - 0.92 > 0.01
    assert Budget(drop=0.01).misses({}, {}, drop=0.93 - 0.92) == ()


def test_a_figure_of_nan_meets_no_limit() -> None:
    missed = Budget(size=0.5, drop=0.01).misses(ORIGINAL, {"size": math.nan}, drop=math.nan)
    assert [miss.name for miss in missed] == ["size", "drop"]


def test_a_bound_of_zero_is_printed() -> None:
    assert str(Miss("size", 3, 0)) == "size: 3 B, at most 0 B allowed"
