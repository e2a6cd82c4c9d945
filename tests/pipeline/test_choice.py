from dataclasses import replace

import pytest

from laconic.core.budget import Budget, Miss
from laconic.core.errors import UsageError
from laconic.pipeline.choice import ATTEMPTS, Outcome, next_proposal, rank, time_of
from laconic.pipeline.proposal import Proposal
from laconic.pipeline.routes import Route, Wanted

ORIGINAL = 1000
DROP = Miss("drop", 0.05, 0.01)


def route(nats, *, keep=1.0, size=None, activations=False, size_bytes=250):
    proposal = Proposal(keep=keep, size=size, activations=activations)
    return Route(proposal=proposal, size_bytes=size_bytes, macs=round(100 * keep), nats=nats)


INTEGERS, FLOATS = route(2e-4, activations=True), route(1e-4)
HALF, QUARTER = route(0.02, keep=0.5, activations=True), route(0.2, keep=0.25, activations=True)
SMALL = route(0.05, size=0.1, size_bytes=100)
ROUTES = (INTEGERS, FLOATS, HALF, QUARTER, SMALL)


def wanted(**limits):
    return Wanted.of(Budget(**limits), size_bytes=ORIGINAL, macs=100, latency_ms=2.0)


def outcome(tried, *misses, slower=False, time=None):
    return Outcome(proposal=tried.proposal, misses=misses, slower=slower, time=time, size_bytes=tried.size_bytes)


def chosen(limits, *outcomes, routes=ROUTES):
    return next_proposal(wanted(**limits), routes, outcomes)


def test_of_ways_that_cost_next_to_nothing_the_fastest_comes_first():
    assert chosen({}) == INTEGERS.proposal


def test_nothing_follows_an_accepted_proposal():
    assert chosen({}, outcome(INTEGERS)) is None


def test_a_limit_of_size_rules_out_what_is_larger():
    assert chosen({"size": 0.12}) == SMALL.proposal


def test_rounded_activations_that_made_a_file_too_large_do_not_rule_out_one_without_them():
    rounded, plain = (route(1e-4, size=0.25, activations=kind, size_bytes=230) for kind in (True, False))
    large = Miss("size", 360, 250)
    assert chosen({"size": 0.25}, outcome(rounded, large), routes=[rounded, plain]) == plain.proposal
    again = chosen({"size": 0.25}, outcome(plain, large), routes=[rounded, plain])
    assert again is not None and again.keep < 1


def test_a_limit_of_time_takes_the_fewest_nats_that_should_be_fast_enough():
    assert chosen({"latency": 0.8}) == INTEGERS.proposal
    assert chosen({"latency": 0.4}) == HALF.proposal


def test_until_a_way_like_it_has_been_measured_a_slightly_slow_one_has_the_benefit_of_the_doubt():
    slow, quick = replace(INTEGERS, time=0.6), replace(HALF, time=0.4)
    assert chosen({"latency": 0.5}, routes=[slow, quick]) == slow.proposal
    other = outcome(route(0.3, keep=0.9, activations=True), Miss("latency", 1.2, 1.0), time=0.6)
    assert chosen({"latency": 0.5}, other, routes=[slow, quick]) == quick.proposal


def test_what_was_measured_corrects_what_others_should_take():
    late = Miss("latency", 1.8, 0.8)
    assert time_of(HALF, ROUTES, [outcome(INTEGERS, late, time=0.9)]) == pytest.approx(0.45)
    assert chosen({"latency": 0.4}, outcome(INTEGERS, late, time=0.9)) == QUARTER.proposal


def test_a_predicted_time_is_taken_before_a_guess_and_set_right_alike():
    timed = replace(HALF, time=0.6)
    assert time_of(timed, [timed], []) == 0.6
    assert time_of(timed, [timed, INTEGERS], [outcome(INTEGERS, time=0.35)]) == pytest.approx(0.3)
    assert time_of(timed, [timed, FLOATS], [outcome(FLOATS, time=0.5)]) == 0.6


def test_integers_that_came_out_slower_rule_out_all_integers():
    assert chosen({}, outcome(INTEGERS, slower=True)) == FLOATS.proposal


def test_too_much_accuracy_lost_asks_for_fewer_nats():
    assert chosen({"drop": 0.01, "size": 0.9}, outcome(HALF, DROP)) == INTEGERS.proposal
    assert chosen({"drop": 0.01, "size": 0.9}, outcome(FLOATS, DROP)) is None


def test_when_no_way_is_left_channels_are_cut_by_as_much_more_as_the_measurement_asks_for():
    late = Miss("latency", 1.0, 0.5)
    found = chosen({"latency": 0.25}, outcome(QUARTER, late, time=0.5), routes=[QUARTER])
    assert found == replace(QUARTER.proposal, keep=0.121)
    assert chosen({"latency": 0.25}, outcome(QUARTER, late, DROP, time=0.5), routes=[QUARTER]) is None


def test_time_that_does_not_shrink_with_channels_is_reckoned_with():
    def late(time):
        return Miss("latency", time, 0.5)

    first, second = route(0.1, keep=0.75), route(0.1, keep=0.6)
    limits = {"latency": 0.5}
    # From the original and 0.75: 0.8 of the time shrinks, so that 0.375 of the channels would take half of the time.
    found = chosen(limits, outcome(first, late(0.8), time=0.8), routes=[first])
    assert found == replace(first.proposal, keep=round(0.97 * 0.375, 3))
    # From both measurements: half of the time shrinks, and 0.3 is as far as one step goes.
    outcomes = outcome(first, late(0.8), time=0.8), outcome(second, late(0.725), time=0.725)
    assert chosen(limits, *outcomes, routes=[first, second]) == replace(second.proposal, keep=round(0.97 * 0.3, 3))


def test_eight_bits_that_came_out_too_large_are_shared_out_instead():
    large = Miss("size", 270, 260)
    found = chosen({"size": 0.26}, outcome(INTEGERS, large), outcome(FLOATS, large), routes=[INTEGERS, FLOATS])
    assert found == replace(INTEGERS.proposal, size=0.26)


def test_a_size_that_nothing_reaches_is_tried_with_what_comes_nearest():
    assert chosen({"size": 0.01}) == SMALL.proposal
    large = Miss("size", 100, 10)
    assert chosen({"size": 0.01}, outcome(SMALL, large), routes=[SMALL]) == replace(SMALL.proposal, keep=0.097)
    fewest = route(0.5, keep=0.1, size=0.01, size_bytes=100)
    assert chosen({"size": 0.01}, outcome(fewest, large), routes=[fewest]) is None


def test_a_file_without_blocks_that_is_too_large_is_set_right_by_channels():
    found = Proposal(keep=0.75, size=0.1, cut="blocks")
    shorter = Route(proposal=found, size_bytes=100, macs=1, nats=0.1)
    assert chosen({"size": 0.1}, outcome(shorter, Miss("size", 125, 100)), routes=[shorter]) == replace(
        found, cut="channels", keep=round(0.97 * 0.75 * 0.8, 3)
    )


def test_with_accuracy_alone_limited_files_get_smaller_until_it_no_longer_holds():
    tiny = route(0.3, size=0.05, size_bytes=50)
    routes = [INTEGERS, FLOATS, SMALL, tiny]
    limits = {"drop": 0.01}
    assert chosen(limits, routes=routes) == INTEGERS.proposal  # The others cost more nats than recovery takes back.
    assert chosen(limits, outcome(INTEGERS), routes=routes) == SMALL.proposal
    assert chosen(limits, outcome(INTEGERS), outcome(SMALL), routes=routes) == tiny.proposal
    assert chosen(limits, outcome(INTEGERS), outcome(SMALL, DROP), routes=routes) is None


def test_with_accuracy_alone_limited_a_loss_leads_to_the_next_larger():
    routes = [route(1e-4, size_bytes=250), route(1e-3, size=0.1, size_bytes=100), route(2e-3, size=0.05, size_bytes=50)]
    assert chosen({"drop": 0.01}, outcome(routes[2], DROP), routes=routes) == routes[1].proposal


def test_a_time_that_nothing_keeps_is_tried_with_the_fastest():
    floats, integers = replace(QUARTER, time=0.6), route(0.1, keep=0.25)
    integers = replace(integers, proposal=replace(integers.proposal, activations=True), time=1.1)
    assert chosen({"latency": 0.1}, routes=[INTEGERS, integers, replace(floats, proposal=Proposal(keep=0.2))]) == (
        Proposal(keep=0.2)
    )


def test_ways_that_cannot_be_gone_are_not_tried():
    assert chosen({}, routes=[replace(INTEGERS, nats=None, why="frozen"), FLOATS]) == FLOATS.proposal


def test_the_search_is_bounded():
    late = Miss("latency", 1.0, 0.9)
    outcomes = [outcome(route(0.1, keep=0.9 - i / 10), late, time=0.5) for i in range(ATTEMPTS)]
    assert chosen({"latency": 0.45}, *outcomes) is None


def test_outcomes_rank_from_accepted_and_small_to_farthest_from_the_budget():
    far = Miss("size", 30, 20)
    outcomes = [outcome(HALF, DROP), outcome(HALF, far), outcome(INTEGERS), outcome(HALF, slower=True), outcome(SMALL)]
    assert sorted(outcomes, key=rank) == [outcomes[4], outcomes[2], outcomes[3], outcomes[1], outcomes[0]]


def test_an_outcome_says_what_is_wrong():
    words = str(outcome(HALF, Miss("size", 30, 20), slower=True))
    assert words == "size: 30 B, at most 20 B allowed, 50.0% over; slower than the original"


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, (1, 1, 1, False)),
        ({"size": "100 B", "drop": 0.01}, (0.1, 1, 1, False)),
        ({"latency": "1 ms", "macs": 0.3}, (1, 0.3, 0.5, False)),
        ({"drop": 0}, (1, 1, 1, True)),
        ({"size": "5 KB"}, (1, 1, 1, False)),
    ],
)
def test_a_budget_is_read_in_fractions_of_the_original(limits, expected):
    found = wanted(**limits)
    assert (found.size, found.macs, found.latency, found.anything) == expected


def test_a_proposal_has_a_name_fit_for_a_folder_and_comes_back_from_json():
    proposal = Proposal(keep=0.275, size=1 / 12, activations=True)
    assert proposal.name == "macs27_5-size8_33a8"
    assert Proposal.of(proposal.config()) == proposal
    assert Route.of(HALF.config()) == HALF


def roomy(**limits):
    """A runtime that takes 50 bytes, and an original that takes 150 in all."""
    return Wanted.of(Budget(**limits), size_bytes=ORIGINAL, macs=100, memory_bytes=150, runtime_memory=50)


def test_memory_beyond_the_runtimes_own_follows_the_float_weights_that_stay_and_the_kernels():
    limited = roomy(memory=0.7)
    assert limited.memory == 105
    assert limited.memory_of(1000, 1000, integers=False) == 150
    assert limited.memory_of(500, 1000, integers=False) == 100
    assert limited.memory_of(1000, 1000, integers=True) == 95
    assert roomy(size=0.5).memory_of(500, 1000, integers=False) is None


def test_a_limit_of_memory_rules_out_what_takes_more_and_what_took_more():
    limited = roomy(memory=0.7)
    integers, floats, half = (
        replace(one, memory=limited.memory_of(left, 1000, integers=one.proposal.activations))
        for one, left in ((INTEGERS, 1000), (FLOATS, 1000), (HALF, 500))
    )
    assert limited.allows(integers) and limited.allows(half) and not limited.allows(floats)
    assert next_proposal(limited, [integers, floats, half], []) == integers.proposal
    measured = outcome(integers, Miss("memory", 120, 105))
    assert next_proposal(limited, [integers, floats, half], [measured]) == half.proposal


def test_less_memory_than_the_runtime_takes_is_refused_with_the_least():
    with pytest.raises(UsageError, match=r"Budget.memory: got '30 B'; expected more than 50 B. The runtime takes that"):
        roomy(memory=0.2)
