from laconic.core.budget import Miss
from laconic.pipeline.choice import BITS, Outcome, Proposal, next_proposal, rank

SIZE, DROP, LATENCY = Miss("size", 30, 20), Miss("drop", 0.05, 0.01), Miss("latency", 3, 2)


def outcome(bits=8, activations=True, misses=(), slower=False):
    return Outcome(proposal=Proposal(bits=bits, activations=activations), misses=tuple(misses), slower=slower)


def test_eight_bit_integers_come_first():
    assert next_proposal([]) == Proposal(bits=8, activations=True)


def test_nothing_follows_an_accepted_proposal():
    assert next_proposal([outcome()]) is None


def test_too_large_a_file_asks_for_fewer_bits_until_there_are_none():
    tried = []
    while (proposal := next_proposal(tried)) is not None:
        tried.append(outcome(proposal.bits, proposal.activations, [SIZE]))
    assert tuple(one.proposal.bits for one in tried) == BITS


def test_rounded_activations_that_do_not_pay_are_taken_back():
    assert next_proposal([outcome(4, slower=True)]) == Proposal(bits=4, activations=False)
    assert next_proposal([outcome(4, misses=[DROP])]) == Proposal(bits=4, activations=False)


def test_the_search_ends_where_fewer_bits_cannot_help():
    assert next_proposal([outcome(misses=[LATENCY])]) is None
    assert next_proposal([outcome(activations=False, misses=[DROP])]) is None


def test_outcomes_rank_from_accepted_to_farthest_from_the_budget():
    outcomes = [outcome(misses=[DROP]), outcome(misses=[SIZE]), outcome(), outcome(slower=True)]
    assert sorted(outcomes, key=rank) == [outcomes[2], outcomes[3], outcomes[1], outcomes[0]]


def test_an_outcome_says_what_is_wrong():
    assert (
        str(outcome(misses=[SIZE], slower=True))
        == "size: 30 B, at most 20 B allowed, 50.0% over; slower than the original"
    )
