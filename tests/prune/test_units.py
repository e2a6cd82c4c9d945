import pytest
import torch
from torch import nn

from graph.shallow import IDS, IMAGES, GroupedDecoder, ResNet, Transformer
from laconic.core.apply import apply
from laconic.core.errors import ModelError, UsageError
from laconic.core.task import Task
from laconic.prune import Magnitude, prune
from laconic.prune.units import Units


def kinds(pruned):
    return {axis.kind for axis in pruned.axes if axis.name in pruned.keep}


def test_only_the_kinds_that_are_asked_for_are_cut():
    model = Transformer(width=16).eval()
    assert kinds(prune(model, IDS, ratio=0.1, units=["heads"])) == {"heads"}
    assert kinds(prune(model, IDS, ratio=0.2, units=["neurons"])) == {"neurons"}
    assert kinds(prune(model, IDS, ratio=0.3, units=["neurons", "heads"])) <= {"neurons", "heads"}


def test_blocks_alone_are_what_remove_blocks_removes():
    pruned = prune(ResNet().eval(), IMAGES, ratio=0.3, units=["blocks"])
    assert pruned.removed and not pruned.keep and pruned.macs_ratio == pytest.approx(0.7, abs=0.06)


def test_blocks_beside_axes_reach_the_ratio_and_one_plan_holds_both():
    torch.manual_seed(0)
    model = ResNet().eval()
    with torch.no_grad():
        for block in (model.body[0], model.body[1]):
            block.bn2.weight.mul_(1e-4)
    task = Task(evaluate=[torch.randn(32, 3, 8, 8)])
    pruned = prune(model, task, ratio=0.7, units=["residual stream", "blocks"])
    assert pruned.removed and pruned.keep and pruned.kind == "module"
    # One of the eight channels of the stream is worth up to a tenth of this small network.
    assert pruned.macs_ratio == pytest.approx(0.3, abs=0.05)
    torch.testing.assert_close(apply(model, pruned.plan)(IMAGES), pruned.model(IMAGES))


def test_heads_of_grouped_attention_go_with_the_queries_that_share_them():
    model = nn.Sequential(GroupedDecoder(), nn.Linear(16, 3)).eval()
    x = torch.randn(2, 5, 16)
    pruned = prune(model, x, ratio=0.2, units=["heads"], importance=Magnitude(), of="parameters")
    smaller = pruned.model
    assert pruned.kind == "module" and pruned.error < 1e-5
    assert kinds(pruned) == {"heads"} and (smaller[0].heads < 6) and smaller[0].heads % smaller[0].groups == 0
    assert smaller[0].q.out_features == smaller[0].o.in_features == 4 * smaller[0].heads
    assert smaller[0].k.out_features == smaller[0].v.out_features == 4 * smaller[0].groups


@pytest.mark.parametrize("wrong", [["widths"], [], "head"])
def test_unknown_units_are_named(wrong):
    with pytest.raises(UsageError, match=r"prune\.units: got"):
        prune(ResNet().eval(), IMAGES, units=wrong)


def test_kinds_that_the_model_lacks_are_said():
    with pytest.raises(ModelError, match=r"no axis that can be cut is one of heads; there are .*channels"):
        prune(ResNet().eval(), IMAGES, units="heads")


def test_slices_are_no_measure_for_blocks():
    with pytest.raises(UsageError, match=r"prune\.of: got 'slices'"):
        prune(ResNet().eval(), IMAGES, units="blocks", of="slices")


def test_all_axes_have_a_name_of_their_own():
    assert Units.of(None) == Units.of("axes") and Units.of(["blocks"]) == Units((), blocks=True)
