import pytest
import torch
from torch import nn
from torch.fx import GraphModule
from torch.nn import functional

from graph.axes.patterns import PATTERNS, analysed
from laconic.core.apply import apply
from laconic.core.errors import ModelError, UsageError
from laconic.core.state import load_state, save_state
from laconic.graph import capture
from laconic.graph.axes import axes
from laconic.graph.cutting import cut
from laconic.prune.agreement import tolerance
from laconic.prune.cutting import cut_out

from .test_attributes import Attention

OWN_CODE_HAS_CONSTANTS = {
    "padded_shortcut",
    "channel_shuffle",
    "split_channels",
    "written_in_place",
    "upsampled_by_repeat",
    "transformer_layer",
    "cross_attention",
    "averaged_attention_weights",
    "fused_qkv",
    "grouped_query_attention",
    "native_grouped_query_attention",
    "rotary_attention",
    "cells",
    "window_attention",
    "mlp_mixer",
    "full_transformer",
}


def halves(found):
    return {axis: torch.arange(max(1, axis.size // 2)) for axis in found}


@pytest.mark.parametrize("name", PATTERNS)
def test_every_pattern_is_cut_and_proven_and_its_plan_gives_the_same_tensors(name):
    model, found, inputs = analysed(name)
    smaller = cut_out(model, found, halves(found), inputs, {})
    assert smaller.error < 1e-12
    assert smaller.kind == ("graph" if name in OWN_CODE_HAS_CONSTANTS else "module")
    assert bool(smaller.why) == (smaller.kind == "graph")
    assert smaller.kind == "graph" or type(smaller.model) is type(model)
    planned = dict(apply(model, smaller.plan).named_parameters())
    for path, tensor in cut(found, halves(found)).named_parameters():
        assert torch.equal(tensor, planned[path])


def test_attention_of_the_users_own_loses_heads_and_stays_itself():
    model = Attention(10, 6, 4)
    x = torch.randn(2, 5, 10)
    found = axes(capture(model, (x,)))
    (heads,) = [axis for axis in found if axis.kind == "heads"]
    smaller = cut_out(model, found, {heads: torch.tensor([0, 3])}, (x,), {})
    assert smaller.kind == "module" and smaller.model.num_heads == 2 and model.num_heads == 6


def test_modes_hooks_ties_and_frozen_parameters_survive():
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 8), nn.Linear(8, 8))
    model.append(nn.Linear(8, 2))
    model[4].weight = model[3].weight
    model[0].weight.requires_grad_(False)
    model[2].eval()
    seen = []
    model[3].register_forward_hook(lambda *_: seen.append(1))
    x = torch.randn(3, 4)
    found = axes(capture(model, (x,)))
    smaller = cut_out(model, found, {axis: torch.arange(4) for axis in found}, (x,), {}).model
    assert smaller.training and smaller[1].training and not smaller[2].training
    assert smaller[4].weight is smaller[3].weight and smaller[3].weight.shape == (4, 4)
    assert not smaller[0].weight.requires_grad and smaller[3].weight.requires_grad
    seen.clear()
    smaller(x)
    assert seen


def test_each_prefix_of_the_plan_is_a_model_that_runs():
    model, found, inputs = analysed("plain_cnn")
    plan = cut_out(model, found, halves(found), inputs, {}).plan
    for count in range(len(plan) + 1):
        assert apply(model, type(plan)(plan.edits[:count]))(*inputs).shape == (2, 2)


def test_cut_module_is_saved_and_loaded_without_pickle(tmp_path):
    model, found, inputs = analysed("depthwise")
    smaller = cut_out(model, found, halves(found), inputs, {})
    save_state(tmp_path, smaller.model, smaller.plan)
    loaded, plan = load_state(tmp_path, PATTERNS["depthwise"]()[0].double())
    assert plan == smaller.plan
    torch.testing.assert_close(loaded(*inputs), smaller.model.eval()(*inputs), rtol=0, atol=0)


def test_failed_proof_is_an_error_and_never_a_model():
    model, found, inputs = analysed("plain_cnn")
    with pytest.raises(ModelError, match="nothing is returned"):
        cut_out(model, found, halves(found), inputs, {}, proof=lambda *_: float("nan"))


def test_own_code_that_is_no_number_once_exported_is_replaced_by_the_graph():
    model, found, inputs = analysed("plain_cnn")
    exported = []

    def proof(axes, keep, tested, args, kwargs):
        exported.append(isinstance(tested, GraphModule))
        return float("nan") if exported[-1] and len(exported) > 1 else 0.0

    assert cut_out(model, found, halves(found), inputs, {}, proof=proof).kind == "graph"


class Scaled(nn.Module):
    """Multiplies by a number that changes with its width: wholly, or hardly."""

    def __init__(self, change):
        super().__init__()
        self.up, self.down, self.change = nn.Linear(4, 8), nn.Linear(8, 2), change

    def forward(self, x):
        return self.down(functional.relu(self.up(x))) * (1 + self.change * self.up.out_features)


@pytest.mark.parametrize(
    ("change", "dtype"), [(1.0, torch.float32), (1e-5, torch.float32), (1e-10, torch.float64), (1e-3, torch.bfloat16)]
)
def test_own_code_that_disagrees_by_more_than_rounding_is_replaced_by_the_graph(change, dtype):
    x, model = torch.randn(3, 4, dtype=dtype), Scaled(change).to(dtype)
    found = axes(capture(model, (x,)))
    smaller = cut_out(model, found, {found["up.weight[0]"]: torch.arange(4)}, (x,), {})
    assert smaller.kind == "graph" and "computes something else" in smaller.why


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_own_code_that_agrees_stays_in_every_precision(dtype):
    x, model = torch.randn(3, 4, dtype=dtype), Scaled(0.0).to(dtype)
    found = axes(capture(model, (x,)))
    assert cut_out(model, found, {found["up.weight[0]"]: torch.arange(4)}, (x,), {}).kind == "module"


def test_own_code_that_insists_on_half_precision_is_judged_in_it():
    class Insistent(Scaled):
        def forward(self, x):
            return super().forward(x.to(torch.bfloat16))

    x, model = torch.randn(3, 4), Insistent(0.0).to(torch.bfloat16)
    found = axes(capture(model, (x,)))
    assert cut_out(model, found, {found["up.weight[0]"]: torch.arange(4)}, (x,), {}).kind == "module"


def test_index_out_of_range_is_named():
    model, found, inputs = analysed("low_rank")
    with pytest.raises(UsageError, match="keep of"):
        cut_out(model, found, {found.axes[0]: torch.tensor([99])}, inputs, {})


def test_tolerance_is_that_of_the_least_precise_parameter():
    assert (
        tolerance(nn.Linear(2, 2).to(torch.bfloat16)) > tolerance(nn.Linear(2, 2)) > tolerance(nn.Linear(2, 2).double())
    )
    assert tolerance(nn.ReLU()) == 0.0


class OtherPathInExport(nn.Module):
    """Checks the width of its middle where it is exported; an attribute can follow a cut, a constant cannot."""

    def __init__(self, constant):
        super().__init__()
        self.up, self.down = nn.Linear(4, 12), nn.Linear(12, 2)
        self.width, self.constant = 12, constant

    def forward(self, x):
        y = functional.relu(self.up(x))
        if torch.compiler.is_exporting():
            y = y.reshape(x.shape[0], 12 if self.constant else self.width)
        return self.down(y)


@pytest.mark.parametrize(("constant", "kind"), [(False, "module"), (True, "graph")])
def test_code_that_takes_another_path_when_exported_agrees_there_too(constant, kind):
    model, x = OtherPathInExport(constant), torch.randn(3, 4)
    found = axes(capture(model, (x,)))
    smaller = cut_out(model, found, halves(found), (x,), {})
    assert smaller.kind == kind and (kind == "module") == (smaller.why == "")
    again = capture(smaller.model, (x,)).program.module()
    torch.testing.assert_close(again(x), smaller.model(x))


class WithConstantInside(nn.Module):
    """A tensor written down in the code of an inner module, and a size that no attribute holds."""

    class Inner(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.down = nn.Linear(4, 8), nn.Linear(8, 2)

        def forward(self, x):
            y = functional.relu(self.up(x)).reshape(len(x), 2, 4) * torch.tensor([[0.5], [2.0]], dtype=x.dtype)
            return self.down(y.reshape(len(x), 8))

    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(self.Inner())

    def forward(self, x):
        return self.inner(x)


def test_constant_of_an_inner_module_is_in_the_graph_and_in_what_is_saved(tmp_path):
    model, x = WithConstantInside().double(), torch.randn(3, 4).double()
    found = axes(capture(model, (x,)))
    smaller = cut_out(model, found, halves(found), (x,), {})
    assert smaller.kind == "graph" and smaller.error < 1e-12
    save_state(tmp_path, smaller.model, smaller.plan)
    loaded, _ = load_state(tmp_path, model)
    assert torch.equal(loaded(x), smaller.model.eval()(x))
