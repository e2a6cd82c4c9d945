import copy
from unittest.mock import patch

import pytest
import torch
from torch import nn
from torch.nn import functional

from graph.shallow import IDS, IMAGES, Basic, ConvNeXtBlock, PostNorm, ResNet, Transformer, Twice
from laconic.core.apply import apply
from laconic.core.errors import ModelError, UsageError
from laconic.core.task import Task
from laconic.prune import load_pruned, remove_blocks

X = torch.randn(48, 3, 8, 8, generator=torch.Generator().manual_seed(1))
FIRST = "body.0.(conv1, bn1, conv2, bn2)"
WIDENING = "body.2.(conv1, bn1, conv2, bn2)"


def resnet():
    torch.manual_seed(0)
    model = ResNet()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return model.eval()


def without_first(model, x):
    return model.head(model.body[1:](functional.relu(model.stem(x))).mean((2, 3)))


def test_block_beside_a_plain_shortcut_becomes_the_identity_in_the_users_own_module():
    model = resnet()
    pruned = remove_blocks(model, IMAGES, names=[FIRST])
    assert pruned.kind == "module" and isinstance(pruned.model.body[0], nn.Identity)
    with torch.no_grad():
        torch.testing.assert_close(pruned.model(IMAGES), without_first(model, IMAGES))
    assert not any(name.startswith("body.0") for name, _ in pruned.model.named_parameters())
    assert list(pruned.removed) == [FIRST] and f"{FIRST}: removed" in str(pruned)


def test_branch_beside_a_projection_needs_a_graph_which_is_saved_like_any_other(tmp_path):
    model = resnet()
    pruned = remove_blocks(model, IMAGES, names=[WIDENING])
    assert pruned.kind == "graph" and "does not run without these blocks" in pruned.why and not pruned.notes
    with torch.no_grad():
        x = model.body[:2](functional.relu(model.stem(IMAGES)))
        expected = model.head(model.body[3](functional.relu(model.body[2].project(x))).mean((2, 3)))
        torch.testing.assert_close(pruned.model(IMAGES), expected)
        again = load_pruned(pruned.save(tmp_path / "shorter"), resnet()).model
        torch.testing.assert_close(again(IMAGES), expected)
    assert not [name for name, _ in pruned.model.named_parameters() if name.startswith(("body.2.conv", "body.2.bn"))]


def test_bare_parameters_of_a_branch_hold_nothing_in_a_graph():
    class Two(ConvNeXtBlock):
        def __init__(self, width):
            super().__init__(width)
            self.mix = nn.Linear(width, width)

        def forward(self, x):
            x = super().forward(x)
            return x + self.mix(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    model = nn.Sequential(nn.Conv2d(3, 8, 1), Two(8)).eval()
    pruned = remove_blocks(model, IMAGES, names=["1.(depthwise, norm, up, down)"])
    assert pruned.kind == "graph" and "still holds 8 parameters" in pruned.why
    assert sum(p.numel() for p in pruned.model.parameters()) == 3 * 8 + 8 + 8 * 8 + 8
    pruned.model(IMAGES).sum().backward()


@pytest.mark.parametrize(
    ("layer", "name", "swapped"),
    [
        (Transformer, "layers.1", {"layers.1": "the identity"}),
        (Transformer, "layers.0.(norm1, attention)", {"layers.0.norm1": "zero", "layers.0.attention": "zero"}),
        (lambda: Transformer(PostNorm), "layers.1.mlp", {"layers.1.mlp": "zero"}),
        (
            lambda: Transformer(PostNorm),
            "layers.1.(mlp, norm2)",
            {"layers.1.norm2": "the identity", "layers.1.mlp": "zero"},
        ),
    ],
)
def test_parts_of_a_transformer_go_from_the_users_own_module(layer, name, swapped):
    torch.manual_seed(0)
    model = layer().eval()
    pruned = remove_blocks(model, IDS, names=[name])
    assert pruned.kind == "module" and {edit.where: str(edit.spec) for edit in pruned.plan} == swapped
    torch.testing.assert_close(apply(model, pruned.plan)(IDS), pruned.model(IDS))
    state = pruned.model.state_dict()
    assert not any(key.startswith(f"{path}.") for key in state for path in swapped)
    pruned.model.train()(IDS).sum().backward()


def test_one_call_of_a_shared_layer_goes_as_a_graph_and_the_layer_stays():
    model, x = Twice(), torch.randn(3, 4)
    pruned = remove_blocks(model, x, names=["layer"])
    assert pruned.kind == "graph" and pruned.parameters_ratio == 1 and pruned.macs_ratio == pytest.approx(24 / 40)
    with torch.no_grad():
        torch.testing.assert_close(pruned.model(x), model.head(x + model.layer(x)))


def test_cheapest_block_goes_first_and_prices_are_what_the_removal_costs():
    model = resnet()
    with torch.no_grad():
        model.body[1].bn2.weight.mul_(1e-3)
        model.body[1].bn2.bias.zero_()
    task = Task(evaluate=[X])
    pruned = remove_blocks(model, task, count=1, compensate=None)
    assert list(pruned.removed) == ["body.1.(conv1, bn1, conv2, bn2)"]
    with torch.no_grad():
        p, q = (m(X).double().log_softmax(-1) for m in (model, pruned.model))
    expected = float((p.exp() * (p - q)).sum(-1).mean())
    assert pruned.removed["body.1.(conv1, bn1, conv2, bn2)"] == pytest.approx(expected, rel=1e-6)


def test_blocks_that_cost_more_than_is_allowed_are_not_fitted():
    with (
        patch("laconic.prune.depth.refit", side_effect=AssertionError),
        pytest.raises(ModelError, match=r"costs .* nats before what remains is fitted"),
    ):
        remove_blocks(resnet(), Task(evaluate=[X]), count=1, most=1e-6)


def test_ratio_is_reached_where_blocks_allow_and_otherwise_said():
    model = resnet()
    quarter = 73_728 / (8 * 3 * 9 * 64 + 4 * 73_728 / 2 + 34_560 + 1_536 + 41_472 + 48)
    near = remove_blocks(model, IMAGES, ratio=quarter)
    assert near.macs_ratio == pytest.approx(1 - quarter, abs=0.02) and not near.notes
    far = remove_blocks(model, IMAGES, ratio=0.99)
    assert "asked to save 99.0% of the macs" in far.notes[0]


def test_compensation_comes_nearer_to_the_original():
    model, task = resnet(), Task(evaluate=[X])
    plain, fitted = (remove_blocks(model, task, names=[FIRST], compensate=how).model for how in (None, "weights"))
    with torch.no_grad():
        errors = [float((shorter(X) - model(X)).square().mean()) for shorter in (plain, fitted)]
    assert errors[1] < 0.5 * errors[0]


def test_original_is_untouched_and_mode_survives():
    model = resnet().train()
    before = copy.deepcopy(model.state_dict())
    pruned = remove_blocks(model, Task(evaluate=[X]), count=1)
    assert model.training and pruned.model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_blocks_with_kept_parameters_stay():
    pruned = remove_blocks(resnet(), IMAGES, ratio=0.9, keep=["body.0.*", "body.1.conv1.weight"])
    assert pruned.removed and not any(name.startswith(("body.0", "body.1")) for name in pruned.removed)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({}, "remove_blocks: got .* expected exactly one of ratio, count and names"),
        ({"ratio": 0.5, "count": 1}, "exactly one"),
        ({"ratio": 1.0}, r"remove_blocks\.ratio: got 1.0"),
        ({"count": 0}, r"remove_blocks\.count: got 0"),
        ({"names": ["body.9"]}, r"remove_blocks\.names: got 'body\.9'.*Near ones: body"),
        ({"count": 1, "of": "slices"}, r"remove_blocks\.of: got 'slices'"),
        ({"count": 1, "keep": ["tail.*"]}, r"remove_blocks\.keep: got 'tail"),
        ({"count": 1, "compensate": "biases"}, r"remove_blocks\.compensate"),
    ],
)
def test_bad_input_is_named(wrong, message):
    with pytest.raises(UsageError, match=message):
        remove_blocks(resnet(), IMAGES, **wrong)


def test_model_without_blocks_is_said():
    with pytest.raises(ModelError, match="no branch or layer"):
        remove_blocks(nn.Linear(3, 2), torch.randn(2, 3), count=1)


def test_a_module_that_returns_more_than_a_tensor_keeps_its_form():
    class Mixing(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.attention = nn.LayerNorm(8), nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x):
            y = self.norm(x)
            mixed, weights = self.attention(y, y, y)
            return x + mixed, weights

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.head = Mixing(), Mixing(), nn.Linear(8, 2)

        def forward(self, x):
            x, _ = self.first(x)
            return self.head(self.second(x)[0])

    x = torch.randn(2, 5, 8)
    pruned = remove_blocks(Model().eval(), x, names=["first"])
    assert pruned.kind == "module" and pruned.model.first(x)[0] is x and pruned.model.first(x)[1] is None


def test_block_whose_branch_shrinks_space_is_a_broadcast_zero_in_the_users_module():
    class Outside(Basic):
        def forward(self, x):
            y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
            return self.relu(y + self.project(x))

    model = nn.Sequential(nn.Conv2d(3, 8, 1), Outside(8, 12, 2), nn.Conv2d(12, 2, 1)).eval()
    pruned = remove_blocks(model, IMAGES, names=["1.(conv1, bn1, conv2, bn2)"])
    assert pruned.kind == "module"
    with torch.no_grad():
        torch.testing.assert_close(pruned.model(IMAGES), model[2](functional.relu(model[1].project(model[0](IMAGES)))))


class Experts(nn.Module):
    """A mixture that asks for each expert of a list by its number."""

    def __init__(self):
        super().__init__()
        self.first, self.router, self.last = nn.Linear(3, 6), nn.Linear(6, 4), nn.Linear(6, 2)
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 6)) for _ in range(4))

    def forward(self, x, gone=(), never=()):
        x = self.first(x)
        logits = self.router(x)
        if never:
            logits[..., list(never)] = -torch.inf
        weights, chosen = logits.softmax(-1).topk(2)
        mixed = torch.zeros_like(x)
        for i, expert in enumerate(self.experts):
            if i not in gone:
                mixed += expert(x) * ((chosen == i) * weights).sum(-1, keepdim=True)
        return self.last(x + mixed)


def test_experts_leave_their_list_and_the_router_never_chooses_them(tmp_path):
    torch.manual_seed(0)
    model, x = Experts().eval(), torch.randn(2, 5, 3)
    pruned = remove_blocks(model, x, names=["experts.0", "experts.2"])
    assert pruned.kind == "module" and len(pruned.model.experts) == pruned.model.router.out_features == 2
    torch.testing.assert_close(pruned.model.router.weight, model.router.weight[[1, 3]])
    with torch.no_grad():
        torch.testing.assert_close(pruned.model(x), model(x, never=(0, 2)))
        assert not torch.allclose(pruned.model(x), model(x, gone=(0, 2)))
        again = load_pruned(pruned.save(tmp_path / "small"), Experts()).model
        assert torch.equal(again(x), pruned.model(x))
    assert any("gives what they had to the others" in note for note in pruned.notes)


class Dispatched(Experts):
    """Each expert is given the tokens that chose it: how many, the data decides."""

    def forward(self, x, gone=(), never=()):
        x = self.first(x).flatten(0, 1)
        logits = self.router(x)
        if never:
            logits[..., list(never)] = -torch.inf
        weights, chosen = logits.softmax(-1).topk(2)
        mixed = torch.zeros_like(x)
        for i, expert in enumerate(self.experts):
            token, place = torch.where(chosen == i)
            mixed[token] += weights[token, place, None] * expert(x[token])
        return self.last(x + mixed)


def test_experts_that_are_given_their_tokens_alone_go_by_name():
    torch.manual_seed(0)
    model, x = Dispatched().eval(), torch.randn(2, 5, 3)
    pruned = remove_blocks(model, x, names=["experts.1"])
    assert pruned.kind == "module" and len(pruned.model.experts) == len(pruned.model.router.weight) == 3
    with torch.no_grad():
        torch.testing.assert_close(pruned.model(x), model(x, never=(1,)))
    assert pruned.removed["experts.1"] > 0


def test_experts_that_each_token_needs_go_as_blocks_and_the_router_keeps_their_rows():
    torch.manual_seed(0)
    model, x = Experts().eval(), torch.randn(2, 5, 3)
    pruned = remove_blocks(model, x, names=["experts.0", "experts.1", "experts.3"])
    assert pruned.kind == "module" and pruned.model.router.weight.shape[0] == 4
    assert not [name for name, _ in pruned.model.named_parameters() if name.startswith(("experts.1", "experts.3"))]
    with torch.no_grad():
        torch.testing.assert_close(pruned.model(x), model(x, gone=(0, 1, 3)))
