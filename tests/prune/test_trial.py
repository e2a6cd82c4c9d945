import re
from unittest.mock import patch

import pytest
import torch
from torch import nn

from laconic.core.errors import ModelError
from laconic.core.task import Task
from laconic.prune import Compensated, Magnitude, prune

X = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))


def network(seed):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 4)).eval()
    with torch.no_grad():
        model[4].weight.mul_(4)
    return model


def nats(model, other):
    with torch.no_grad():
        p, q = (net(X).double().log_softmax(1) for net in (model, other))
    return float((p.exp() * (p - q)).sum(1).mean())


def kept(pruned):
    return {name: indices.tolist() for name, indices in pruned.keep.items()}


@pytest.mark.parametrize(("seed", "best"), [(1, "Magnitude"), (3, "Compensated")])
def test_without_a_criterion_what_comes_out_nearer_is_taken_and_said(seed, best):
    model, task = network(seed), Task(evaluate=list(X.split(32)))
    ways = {
        "Compensated": prune(model, task, ratio=0.6, importance=Compensated(), scope="global"),
        "Magnitude": prune(model, task, ratio=0.6, importance=Magnitude(), scope="layer"),
    }
    found = prune(model, task, ratio=0.6)
    assert min(ways, key=lambda name: nats(model, ways[name].model)) == best
    assert kept(found) == kept(ways[best])
    assert found.notes[0].startswith(f"ranked by {best}, ")


@pytest.mark.parametrize("compensate", ["statistics", None])
def test_the_trial_fits_what_the_result_will_be_fitted_with(compensate):
    model, task = network(3), Task(evaluate=list(X.split(32)))
    found = prune(model, task, ratio=0.6, compensate=compensate)
    assert found.notes[0].startswith("ranked by ") and found.macs_ratio == pytest.approx(0.4, abs=0.05)


def test_one_batch_serves_for_both_halves():
    found = prune(network(3), Task(evaluate=[X]), ratio=0.6)
    assert found.notes[0].startswith("ranked by ")


def test_nothing_is_tried_where_the_user_chose():
    model, task = network(3), Task(evaluate=list(X.split(32)))
    for choice in ({"importance": Compensated()}, {"scope": "global"}):
        assert not any(note.startswith("ranked") for note in prune(model, task, ratio=0.6, **choice).notes)
    assert not any(note.startswith("ranked") for note in prune(model, X, ratio=0.6).notes)


@pytest.mark.parametrize(
    ("share", "words"), [(0.9, "costs about .* nats, after a trial"), (1e-3, "is predicted to cost")]
)
def test_a_cut_that_costs_more_than_is_allowed_ends_before_what_remains_is_fitted(share, words):
    model, task = network(3), Task(evaluate=list(X.split(32)))
    note = prune(model, task, ratio=0.6, most=1.0).notes[0]
    tried = min(float(words.split()[0].strip("(")) for words in re.findall(r"\(?[\d.e-]+ nats", note))
    with (
        patch("laconic.prune.narrowing.refit", side_effect=AssertionError),
        pytest.raises(ModelError, match=f"cutting 60% {words}"),
    ):
        prune(model, task, ratio=0.6, most=share * tried)
