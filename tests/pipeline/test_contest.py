"""A student beside the way that looks best without training."""

from dataclasses import replace
from unittest.mock import Mock, patch

import pytest

from laconic import Budget, Recovery, compress
from laconic.core.files import read_json
from laconic.pipeline.contest import NATS, Contest, rival_of
from laconic.pipeline.explore import STUDENT, explore
from laconic.pipeline.ledger import Ledger
from laconic.pipeline.lessons import Schooling
from laconic.pipeline.planning import planned
from laconic.pipeline.proposal import Proposal
from laconic.pipeline.routes import Route, Wanted
from laconic.train import AdamW

from .samples import at_once, network, task
from .test_routes import FILE, bases

CHANNELS, OF_STUDENT = Proposal(keep=0.5), Proposal(keep=0.5, cut="student")
WANTED = Wanted(size=1, macs=0.5, latency=1, anything=False, original_bytes=100, original_macs=100)


def routes(macs: int = 50) -> list[Route]:
    return [
        Route(proposal=CHANNELS, size_bytes=30, macs=50, nats=0.1),
        Route(proposal=OF_STUDENT, size_bytes=30, macs=macs, nats=0.4),
    ]


def test_a_rival_is_a_student_that_should_meet_the_budget_and_was_not_tried():
    assert rival_of(CHANNELS, WANTED, routes(), []).proposal == OF_STUDENT
    assert rival_of(CHANNELS, WANTED, routes(macs=60), []) is None
    assert rival_of(CHANNELS, WANTED, routes(), [OF_STUDENT]) is None
    assert rival_of(Proposal(), WANTED, routes(), []) is None
    assert rival_of(OF_STUDENT, WANTED, routes(), []).proposal == CHANNELS


@pytest.mark.parametrize(("after", "nearest"), [((0.09, 0.02), OF_STUDENT), ((0.02, 0.09), CHANNELS)])
def test_what_is_nearer_after_a_while_goes_on_whatever_it_was_before(after, nearest):
    known = Mock(wanted=WANTED, routes=routes())
    contest = Contest(Mock(recovers=True), Mock(), known)
    with patch.object(Contest, "_nats", side_effect=after):
        assert contest.settled(CHANNELS, []) == nearest
    assert (
        contest.verdicts[CHANNELS]
        == f"{after[0]:.2g} nats after a trial of 20% of the training, the other {after[1]:.2g}"
    )
    assert Contest(Mock(recovers=False), Mock(), known).settled(CHANNELS, []) == CHANNELS


def learning(steps: int = 400, **budget):
    made = bases(**budget)
    made.job = replace(made.job, recovery=Recovery.for_epochs(100))
    made.schooling = Schooling(steps=steps, seconds=steps / 100, once=4)
    return made


def test_a_student_is_derived_where_cuts_cost_more_than_training_is_sure_to_take_back():
    made, ledger = learning(macs=0.15), Ledger()
    found = explore(made, Wanted.of(made.job.budget, size_bytes=FILE, macs=made.at(1.0).macs), ledger)
    (student, *_) = [route for route in found if route.proposal.cut == "student"]
    assert student.nats > 0.01 and student.macs <= 0.16 * made.at(1.0).macs and STUDENT not in ledger.left_out
    _, steps = planned(made.job, made, student.proposal, FILE)
    assert steps[0].words == "student derived, 15% of the MACs asked for" and steps[-1].nats == pytest.approx(
        student.nats
    )


@pytest.mark.parametrize(
    ("steps", "budget", "why"),
    [
        (3, {"macs": 0.15}, "4 steps or about 0 s here; 3 steps are allowed"),
        (400, {"macs": 0.9}, "nats, and training takes back 0.01 or more anyway"),
    ],
)
def test_the_reason_why_there_is_no_student_comes_with_numbers(steps, budget, why):
    made, ledger = learning(steps=steps, **budget), Ledger()
    found = explore(made, Wanted.of(made.job.budget, size_bytes=FILE, macs=made.at(1.0).macs), ledger)
    assert why in ledger.left_out[STUDENT] and all(route.proposal.cut != "student" for route in found)


def test_both_learn_for_a_while_and_the_report_says_what_came_of_it(tmp_path):
    training = replace(Recovery.for_epochs(10).training, optimizer=AdamW(learning_rate=5e-3))
    with at_once(), patch("laconic.pipeline.explore.KEEPS", ()):
        result = compress(network(), task(), Budget(macs=0.15), recovery=Recovery(training=training), work=tmp_path)
    trials = {path.parent.parent.name: read_json(path) for path in tmp_path.glob(f"*/trial/{NATS}")}
    assert len(trials) == 2 and any("student" in name for name in trials)
    assert min(trials, key=trials.get) == result.report.attempts[0].name
    assert sum("after a trial of 20% of the training" in way.verdict for way in result.report.ways) == 2
