import pytest
import torch

from graph.axes.mixtures import CHOSEN, DENSE, EXPERTS, Compared, Inspected, Mixture, Sigmoid, X
from laconic.core.errors import UsageError
from laconic.graph import capture
from laconic.graph.axes import axes
from laconic.graph.cutting import cut
from laconic.graph.oracle import cut_error
from laconic.prune import Magnitude, prune

KEPT = torch.tensor([0, 2, 4])


def experts(model):
    return [axis for axis in axes(capture(model.eval(), (X,))) if axis.kind == "experts"]


@pytest.mark.parametrize("name", [name for name in DENSE if name != "Soft"])
def test_an_expert_goes_with_the_row_of_the_router(name):
    (axis,) = experts(DENSE[name]())
    slices = {(part.tensor, part.dim) for part in axis.slices}
    assert {("router.weight", 0), ("router.bias", 0), ("up", 0), ("down", 0)} <= slices
    assert (axis.size, axis.least) == (EXPERTS, CHOSEN)


def test_a_bias_that_only_helps_to_choose_goes_too():
    (axis,) = experts(Sigmoid())
    assert ("balance", 0) in {(part.tensor, part.dim) for part in axis.slices}


@pytest.mark.parametrize("name", DENSE)
def test_a_mixture_without_experts_never_chooses_them(name):
    model = DENSE[name]().eval()
    found = axes(capture(model, (X,)))
    axis = next(axis for axis in found if ("up", 0) in {(part.tensor, part.dim) for part in axis.slices})
    assert cut_error(found, {axis: KEPT}, cut(found, {axis: KEPT}), (X,), {}) < 1e-6


def test_what_is_left_is_the_router_with_minus_infinity_before_the_choice():
    model = Mixture().eval()
    found = axes(capture(model, (X,)))
    (axis,) = [axis for axis in found if axis.kind == "experts"]
    smaller = cut(found, {axis: KEPT})
    with torch.no_grad():
        logits = model.router(X)
        logits[..., [1, 3]] = -torch.inf
        weights, chosen = logits.softmax(-1).topk(CHOSEN)
        gates = torch.zeros_like(logits).scatter(-1, chosen, weights / weights.sum(-1, keepdim=True))
        expected = model.head(X + torch.einsum("bte,bted->btd", gates, model.answers(X)))
        torch.testing.assert_close(smaller(X), expected)
        assert set(chosen.unique().tolist()) <= set(KEPT.tolist())
        # Zero logits instead would still have drawn tokens to the experts that are gone.
        logits[..., [1, 3]] = 0.0
        assert set(logits.topk(CHOSEN).indices.unique().tolist()) - set(KEPT.tolist())


def test_as_many_stay_as_are_chosen_for_each_token():
    found = axes(capture(Mixture().eval(), (X,)))
    (axis,) = [axis for axis in found if axis.kind == "experts"]
    with pytest.raises(UsageError, match="at least 2 indices below 5"):
        cut(found, {axis: torch.tensor([1])})
    pruned = prune(Mixture().eval(), X, ratio=0.9, importance=Magnitude(), of="slices")
    assert len(pruned.keep[axis.name]) == CHOSEN


@pytest.mark.parametrize("make", [Inspected, Compared])
def test_experts_whose_numbers_matter_are_frozen(make):
    model = make().eval()
    assert not experts(model)
    frozen = {(dim.tensor, dim.dim) for dim in axes(capture(model, (X,))).frozen}
    assert ("router.weight", 0) in frozen


@pytest.mark.parametrize("name", ["Mixture", "OneHot", "Sigmoid", "LookedUp", "Sorted"])
def test_pruning_experts_gives_back_the_users_own_module(name):
    model = DENSE[name]().eval()
    pruned = prune(model, X, ratio=0.4, importance=Magnitude(), keep=("head.*",), of="slices")
    (axis,) = [axis for axis in pruned.axes if axis.kind == "experts"]
    kept = len(pruned.keep[axis.name])
    assert pruned.kind == "module" and CHOSEN <= kept < EXPERTS
    assert pruned.model.up.shape[0] == pruned.model.router.out_features == kept and pruned.error < 1e-5
    assert pruned.model.num_experts == (
        kept if name in ("Mixture", "OneHot", "Sorted") else EXPERTS
    )  # The others never read it.
