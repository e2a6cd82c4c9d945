import copy

import pytest
import torch
from torch import nn

import laconic
from laconic.core.apply import apply
from laconic.core.errors import ModelError, UsageError
from laconic.core.target import Target
from laconic.core.task import Task
from laconic.graph.axes.expression import product
from laconic.graph.axes.rules import RULES
from laconic.prune import BatchNormScale, Compensated, Magnitude, Random, prune


def network():
    torch.manual_seed(0)
    body = [nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 24, 3), nn.BatchNorm2d(24)]
    return nn.Sequential(*body, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 4)).eval()


X = torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(1))
TASK = Task(evaluate=[X[:32], X[32:]])


@pytest.mark.parametrize("of", ["macs", "parameters", "slices"])
@pytest.mark.parametrize("scope", ["global", "layer", "kind"])
def test_ratio_is_reached_within_two_percent(of, scope):
    pruned = prune(network(), X[:2], ratio=0.5, of=of, scope=scope)
    left = {"macs": pruned.macs_ratio, "parameters": pruned.parameters_ratio}
    left["slices"] = sum(map(len, pruned.keep.values())) / sum(axis.size for axis in pruned.axes)
    assert left[of] == pytest.approx(0.5, abs=0.025) and not pruned.notes


def test_original_is_untouched_and_the_same_call_gives_the_same_plan():
    model = network()
    before = copy.deepcopy(model.state_dict())
    first, second = prune(model, TASK, ratio=0.4), prune(model, TASK, ratio=0.4)
    assert first.plan == second.plan
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_plan_alone_leads_from_the_original_to_the_pruned_model():
    pruned = prune(network(), TASK, ratio=0.4)
    assert pruned.kind == "module"
    torch.testing.assert_close(apply(network(), pruned.plan)(X), pruned.model(X), rtol=0, atol=0)


def test_compensation_comes_nearer_to_the_original():
    model = network()
    cut, fitted = (prune(model, TASK, ratio=0.5, compensate=compensate).model for compensate in (None, "weights"))
    with torch.no_grad():
        errors = [float((smaller(X) - model(X)).square().mean()) for smaller in (cut, fitted)]
    assert errors[1] < 0.5 * errors[0]


def test_statistics_alone_leave_the_weights_as_the_cut_left_them():
    cut, restated = (prune(network(), TASK, ratio=0.5, compensate=how).model for how in (None, "statistics"))
    assert torch.equal(cut[3].weight, restated[3].weight)
    with torch.no_grad():
        entering = restated[:4](X)
    torch.testing.assert_close(restated[4].running_mean, entering.mean((0, 2, 3)))


def test_nothing_saved_is_the_same_model():
    model = network()
    pruned = prune(model, TASK, ratio=0.0)
    assert len(pruned.plan) == 0 and torch.equal(pruned.model(X), model(X))


def test_sizes_become_multiples():
    pruned = prune(network(), X[:2], ratio=0.5, round_to=8)
    assert pruned.keep and all(len(kept) % 8 == 0 for kept in pruned.keep.values())


def test_ratio_that_rounding_forbids_is_said():
    pruned = prune(network(), X[:2], ratio=0.97, round_to=8)
    assert "asked to save 97.0% of the macs" in pruned.notes[0] and pruned.notes[0] in str(pruned)


def test_no_axis_is_emptied():
    pruned = prune(network(), X[:2], ratio=0.999)
    assert all(len(kept) >= 1 for kept in pruned.keep.values())


def test_least_is_kept_of_every_axis():
    pruned = prune(network(), X[:2], ratio=0.9, least=0.5)
    sizes = {axis.name: axis.size for axis in pruned.axes}
    assert all(len(kept) >= sizes[name] / 2 for name, kept in pruned.keep.items())


def test_least_of_some_layers_is_given_by_name():
    pruned = prune(network(), X[:2], ratio=0.8, least={"0.*": 0.75, "0.w*": 0.5})
    assert pruned.model[0].out_channels >= 12 and pruned.model[3].out_channels < 12


def test_a_target_decides_what_sizes_become():
    torch.manual_seed(0)
    body = [nn.Linear(6, 48), nn.ReLU(), nn.Linear(48, 30), nn.ReLU(), nn.Linear(30, 16), nn.ReLU(), nn.Linear(16, 2)]
    model, x = nn.Sequential(*body), torch.randn(4, 6)
    wide = prune(model, x, ratio=0.3, of="slices", target=Target())
    assert wide.keep and all(len(kept) in (4, 8, 12, 16, 32) for kept in wide.keep.values())
    asked = prune(model, x, ratio=0.3, of="slices", target=Target(), round_to=5)
    assert asked.keep and all(len(kept) % 5 == 0 for kept in asked.keep.values())
    assert any(len(kept) % 4 for kept in prune(model, x, ratio=0.3, of="slices").keep.values())


def test_the_number_of_heads_is_never_rounded():
    model, x = nn.TransformerEncoderLayer(24, 3, 32, batch_first=True).eval(), torch.randn(2, 5, 24)
    heads = [axis for axis in prune(model, x, ratio=0.2, target=Target()).axes if axis.kind == "heads"]
    kept = prune(model, x, ratio=0.2, of="slices", scope="kind", target=Target()).keep
    assert len(kept[heads[0].name]) == 2


def test_layers_are_left_alone_by_name():
    pruned = prune(network(), X[:2], ratio=0.3, keep=("0.*",))
    assert pruned.model[0].out_channels == 16 and pruned.model[3].out_channels < 24


def test_a_criterion_that_does_not_apply_is_said():
    model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2))
    pruned = prune(model, torch.randn(4, 3), ratio=0.2, importance=BatchNormScale())
    assert list(pruned.keep) == ["0.weight[0]"] and "2.weight[0]" in pruned.notes[-1]


def test_graph_fallback_is_a_stated_and_fitted_result():
    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.down = nn.Linear(6, 12), nn.Linear(12, 2)

        def forward(self, x):
            return self.down(torch.relu(self.up(x)).view(-1, 12))

    torch.manual_seed(0)
    model, x = Fixed(), torch.randn(32, 6)
    pruned = prune(model, Task(evaluate=[x]), ratio=0.4)
    assert pruned.kind == "graph" and "does not run at the new sizes" in pruned.why and pruned.why in str(pruned)
    plain = prune(model, Task(evaluate=[x]), ratio=0.4, compensate=None)
    with torch.no_grad():
        errors = [float((smaller.model(x) - model(x)).square().mean()) for smaller in (plain, pruned)]
    assert errors[1] < errors[0]


@pytest.mark.parametrize(
    "wrong",
    [
        {"ratio": 1.0},
        {"ratio": -0.1},
        {"least": 1.0},
        {"least": {"0.*": -0.1}},
        {"least": {"head.*": 0.5}},
        {"round_to": 0},
        {"samples": 0},
        {"of": "bytes"},
        {"compensate": "biases"},
        {"scope": "all"},
        {"keep": ("head.*",)},
        {"importance": Compensated()},
    ],
)
def test_bad_input_is_named(wrong):
    name = next(iter(wrong))
    with pytest.raises(UsageError, match=rf"prune\.{name}(\[.*\])?: got|prune\.{name}: Compensated needs data"):
        prune(network(), X[:2], **wrong)


def test_model_without_an_axis_is_said_with_what_froze_it():
    with pytest.raises(ModelError, match=r"nothing that can be cut(.|\n)*the model's output"):
        prune(nn.Linear(3, 2), torch.randn(2, 3))
    with pytest.raises(ModelError, match="kept by name"):
        prune(network(), X[:2], keep=("*",))


def test_training_mode_and_public_names():
    pruned = laconic.prune(network().train(), X[:2], ratio=0.3, importance=Random(seed=1))
    assert isinstance(pruned, laconic.Pruned) and all(module.training for module in pruned.model.modules())


def test_cheaper_criterion_takes_inputs_by_name_and_by_position():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))

        def forward(self, x):
            return self.body(x)

    x = torch.randn(4, 3)
    plans = [prune(Named(), data, importance=Magnitude(norm=2)).plan for data in (x, (x,), {"x": x})]
    assert len(plans) == 3 and all(len(plan) == 1 for plan in plans)


class Written(nn.Module):
    """Says how long what it repeats becomes."""

    def __init__(self):
        super().__init__()
        self.few, self.many, self.out = nn.Linear(6, 6), nn.Linear(6, 24), nn.Linear(36, 2)

    def forward(self, x):
        repeated = self.few(x).repeat_interleave(2, dim=1, output_size=12)
        return self.out(torch.cat([repeated, self.many(x).relu()], 1))


def forgetful(call):
    """A rule with a mistake: the written size is not followed."""
    dims = call.dims("self")
    return (dims[0], product(dims[1], call.algebra.fresh(2)))


@pytest.mark.parametrize("with_task", [False, True])
def test_an_axis_that_a_wrong_rule_breaks_is_left_alone_and_named(monkeypatch, with_task):
    monkeypatch.setitem(RULES, "repeat_interleave", forgetful)
    torch.manual_seed(0)
    x, model = torch.randn(64, 6), Written().eval()
    found = prune(model, Task(evaluate=list(x.split(16))) if with_task else x, ratio=0.3)
    assert found.macs_ratio == pytest.approx(0.7, abs=0.03)
    assert any("not right: few.weight[0], out.weight[1]. Please report" in note for note in found.notes)
    assert found.model.few.weight.shape == (6, 6) and len(found.model.many.weight) < 24


def test_a_model_of_which_every_axis_breaks_is_refused(monkeypatch):
    monkeypatch.setitem(RULES, "repeat_interleave", forgetful)
    with pytest.raises(ModelError, match=r"Written without the cut slices does not run \(.*\); nothing is returned"):
        prune(Written(), torch.randn(5, 6), ratio=0.3, keep=["many.*"])
