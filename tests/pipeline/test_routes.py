"""The ways to a budget on a small network, with few techniques, for speed."""

import math
from dataclasses import replace
from unittest.mock import Mock, patch

import pytest
import torch
from torch import nn

from laconic.calibrate import calibrate
from laconic.core.apply import apply
from laconic.core.budget import Budget
from laconic.core.edit import Cut, RoundActivation, Swap
from laconic.core.plan import Plan
from laconic.core.target import Target
from laconic.graph import capture
from laconic.pipeline.bases import Base, Bases
from laconic.pipeline.explore import _uniform, explore
from laconic.pipeline.job import Job
from laconic.pipeline.ledger import Ledger
from laconic.pipeline.planning import planned
from laconic.pipeline.proposal import Proposal
from laconic.pipeline.reading import Reading
from laconic.pipeline.routes import Wanted, needs_prices
from laconic.quantize import RoundToNearest
from laconic.select.menu import SPARSE_GRIDS

from .samples import network, task, weights_alone

FILE = 6000
TECHNIQUES = tuple(RoundToNearest(bits=bits) for bits in (8, 4, 3, 2))


@pytest.fixture(autouse=True)
def few_techniques():
    with (
        patch("laconic.pipeline.bases.FOR_ONNX", TECHNIQUES),
        patch("laconic.pipeline.planning.GRIDS", TECHNIQUES),
        weights_alone(),
    ):
        yield


@pytest.fixture(autouse=True)
def steady_times():
    """Times of layers are measured elsewhere; here cutting channels saves a tenth."""
    model = Mock(predict=lambda plan: Mock(ratio=0.9 - 0.1 * any(isinstance(edit, Cut) for edit in plan)))
    with patch("laconic.pipeline.bases.latency_model", return_value=model):
        yield


def bases(**budget):
    job = Job(
        model=network().eval(),
        task=task(),
        budget=Budget(**budget),
        target=Target.parse("onnxruntime"),
        recovery=None,
    )
    example = job.example()
    graph = capture(job.model, example.args, example.kwargs)
    evidence = calibrate(job.model, job.task, gradients=needs_prices(job.budget))
    return Bases(job=job, graph=graph, evidence=evidence, reading=Reading(calibration=job.samples))


def explored(**budget):
    made = bases(**budget)
    macs = made.at(1.0).macs
    return made, explore(made, Wanted.of(made.job.budget, size_bytes=FILE, macs=macs))


def test_without_limits_eight_bits_are_all_there_is_to_consider():
    _, routes = explored()
    assert [route.proposal for route in routes] == [Proposal(activations=True), Proposal()]
    assert all(0 < route.nats < 0.01 and route.size_bytes < FILE / 2 for route in routes)


def test_a_small_size_is_shared_out_and_channels_are_cut_where_that_helps():
    _, routes = explored(size=0.2)
    mixed = [route for route in routes if route.proposal.size is not None and route.nats is not None]
    assert mixed and all(route.size_bytes <= 0.2 * FILE for route in mixed)
    assert {route.proposal.keep for route in routes} > {1.0}


def test_eight_bits_that_cannot_fit_are_not_made_for_smaller_networks():
    with patch("laconic.pipeline.explore._uniform", side_effect=_uniform) as made:
        routes = explored(size=0.3)[1]
    wider = [route for route in routes if route.proposal.keep == 0.75 and route.nats is not None]
    assert {route.proposal.size for route in wider} == {0.3}
    assert 0.75 not in {call.args[3].keep for call in made.call_args_list}


def test_of_smaller_networks_only_the_best_stays_in_memory():
    made, routes = explored(size=0.2)
    best = min((route for route in routes if route.size_bytes <= 0.2 * FILE), key=lambda route: route.nats or math.inf)
    held = {place for place, base in made._made.items() if isinstance(base, Base)}
    assert held == {(1.0, "channels"), (best.proposal.keep, best.proposal.cut)} and best.proposal.keep < 1


def test_a_size_that_no_technique_reaches_says_what_the_least_is():
    _, routes = explored(size=0.02)
    refused = [route for route in routes if route.nats is None and route.proposal.cut != "blocks"]
    assert refused and all("too large: the smallest form of every layer leaves" in route.why for route in refused)
    assert all(route.size_bytes > 0.02 * FILE for route in refused)


def test_a_limit_of_multiply_accumulates_cuts_channels_to_it_first():
    made, routes = explored(macs=0.5)
    assert routes[0].proposal.keep == 0.5
    assert routes[0].macs <= 0.53 * made.at(1.0).macs


def test_a_search_that_was_killed_prices_only_what_is_missing(tmp_path):
    made, whole = explored(size=0.2)
    wanted = Wanted.of(made.job.budget, size_bytes=FILE, macs=made.at(1.0).macs)
    killed = bases(size=0.2)
    seen = Mock(side_effect=[None] * 6 + [KeyboardInterrupt])
    object.__setattr__(killed.job, "progress", Mock(say=seen, step=Mock()))
    with pytest.raises(KeyboardInterrupt):
        explore(killed, wanted, Ledger(tmp_path))
    again = bases(size=0.2)
    with patch.object(Bases, "at", autospec=True, side_effect=Bases.at) as cuts:
        routes = explore(again, wanted, Ledger(tmp_path))
    assert [route.proposal for route in routes] == [route.proposal for route in whole]
    assert all(one.nats == pytest.approx(other.nats) for one, other in zip(routes, whole, strict=True) if one.nats)
    assert {call.args[1] for call in cuts.call_args_list} == {route.proposal.keep for route in whole[4:]}
    with patch.object(Bases, "at", side_effect=AssertionError):
        assert explore(again, wanted, Ledger(tmp_path)) == routes


def test_times_are_predicted_only_where_time_is_limited():
    _, routes = explored(latency=0.82)
    assert {route.time for route in routes if route.nats is not None} == {0.9, 0.8}
    assert all(route.time is None for route in explored(macs=0.9)[1])


@pytest.mark.parametrize(("size", "offered"), [(1 / 17, True), (1 / 10, False)])
def test_masked_grids_are_priced_where_few_bytes_are_wanted(size, offered):
    made = bases(size=size)
    assert (set(SPARSE_GRIDS) <= set(made.at(1.0).techniques)) == offered


def test_accuracy_alone_leads_to_smaller_and_smaller_files():
    _, routes = explored(drop=0.01)
    sizes = {route.proposal.size for route in routes if route.nats is not None}
    assert len(sizes) > 2 and min(r.size_bytes for r in routes if r.nats is not None) < FILE / 8


def test_a_model_whose_channels_cannot_be_cut_says_so_and_stays_in_the_running():
    made = bases(latency=0.2)
    with patch("laconic.pipeline.bases.prune", side_effect=made_error()):
        routes = explore(made, Wanted.of(made.job.budget, size_bytes=FILE, macs=1280))
    assert [route.nats is None for route in routes] == [False, False, True, True]
    assert [route.why for route in routes[2:]] == [
        "every axis is frozen",
        "remove_blocks: Sequential has no branch or layer that it could do without.",
    ]


def test_multiply_accumulates_that_cannot_be_cut_leave_the_ways_with_all_channels():
    made = bases(macs=0.5)
    wanted = Wanted.of(made.job.budget, size_bytes=FILE, macs=1280)
    with patch("laconic.pipeline.bases.prune", side_effect=made_error()):
        routes = explore(made, wanted)
    found = [(route.proposal.keep, route.nats is None) for route in routes]
    assert found == [(0.5, True), (0.5, True), (1.0, False), (1.0, False)]
    assert not any(wanted.allows(route) for route in routes[2:])


def made_error():
    from laconic.core.errors import ModelError

    return ModelError("every axis is frozen")


def test_a_proposal_becomes_a_plan_in_order_that_says_what_each_part_did():
    made = bases(size=0.5)
    plan, steps = planned(made.job, made, Proposal(keep=0.5, size=0.45, activations=True), FILE)
    network_ = apply(made.job.model, plan).eval()
    assert [step.words.split()[0] for step in steps] == ["whole", "weights", "activations"]
    assert steps[-1].nats == pytest.approx(made.yardstick.nats(network_))
    assert steps[0].macs == steps[-1].macs < made.at(1.0).macs
    assert steps[1].size_bytes < steps[0].size_bytes
    assert any(isinstance(edit, RoundActivation) for edit in plan)
    recoded = [edit.parameter for edit in plan.recodes]
    assert len(recoded) == len(set(recoded))


def test_no_step_leaves_the_model_of_the_user_changed():
    made = bases(size=0.5)
    before = {name: tensor.clone() for name, tensor in made.job.model.state_dict().items()}
    planned(made.job, made, Proposal(keep=0.5, size=0.45), FILE)
    assert all(tensor.equal(before[name]) for name, tensor in made.job.model.state_dict().items())
    assert isinstance(made.job.model[0], nn.Linear) and made.at(1.0).plan == Plan()


class Residual(nn.Module):
    """What it adds is next to nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(64, 64)
        self.inner.weight.data *= 1e-3

    def forward(self, x):
        return x + self.inner(x).relu()


def residual(**budget):
    made = bases(**budget)
    model = nn.Sequential(nn.Linear(16, 64), Residual(), Residual(), Residual(), nn.Linear(64, 4)).eval()
    model[4].weight.data *= 10
    job = replace(made.job, model=model)
    graph = capture(model, job.example().args)
    return Bases(job=job, graph=graph, evidence=calibrate(model, job.task), reading=Reading(calibration=job.samples))


def test_blocks_that_do_next_to_nothing_are_a_way_of_their_own():
    made = residual(macs=0.5)
    routes = explore(made, Wanted.of(made.job.budget, size_bytes=4 * FILE, macs=made.at(1.0).macs))
    assert {route.proposal.cut for route in routes if route.nats is not None} == {"channels", "blocks"}
    best = min((r for r in routes if r.proposal.cut == "blocks" and r.nats is not None), key=lambda route: route.nats)
    assert best.nats < 1e-4 and best.macs <= 0.5 * made.at(1.0).macs
    plan, steps = planned(made.job, made, best.proposal, 4 * FILE)
    assert sum(isinstance(edit, Swap) for edit in plan) == 2
    assert steps[0].words == "whole blocks cut, 50% of the MACs asked for"
    assert made.yardstick.nats(apply(made.job.model, plan).eval()) == pytest.approx(steps[-1].nats)


def test_what_costs_more_before_a_weight_is_coded_is_turned_down_with_its_price():
    made = residual(macs=0.5)
    with torch.no_grad():  # Every block matters, and half of the channels does nothing.
        for block in made.job.model[1:4]:
            block.inner.weight.mul_(1e3)
            block.inner.weight[32:], block.inner.bias[32:] = 0, 0
        made.job.model[0].weight[32:], made.job.model[0].bias[32:] = 0, 0
    routes = explore(made, Wanted.of(made.job.budget, size_bytes=4 * FILE, macs=made.at(1.0).macs))
    turned_down = [route for route in routes if route.proposal.cut == "blocks"]
    assert turned_down and all(route.nats is None for route in turned_down)
    assert turned_down[0].why.endswith("nats before what remains is fitted.") and made.at(0.5).nats < 1


def test_a_proposal_comes_back_from_its_values_and_is_named_after_what_goes():
    proposal = Proposal(keep=0.5, cut="blocks", size=0.1)
    assert Proposal.of(proposal.config()) == proposal
    assert proposal.name == "blocks50-size10" and str(proposal).startswith("blocks to 0.5 of the MACs")
    assert Proposal(keep=0.5).name == "macs50-w8"
