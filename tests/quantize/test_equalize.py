import pytest
import torch
from torch import nn
from torch.nn import functional

from laconic.core.apply import apply
from laconic.core.codings import Dense
from laconic.core.edit import Recode
from laconic.core.errors import ModelError, UsageError
from laconic.core.plan import Plan
from laconic.core.task import Task
from laconic.graph import capture
from laconic.quantize import CrossLayer, MinMax, Smooth, equalize, followed_by, quantize, scalable
from laconic.quantize.equalize_scales import Ranges

METHODS = [CrossLayer(), Smooth()]


def images(count: int = 16, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def trained(model: nn.Module) -> nn.Module:
    """Random statistics, so that every term of a normalisation counts."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(generator=generator)
            module.running_var.uniform_(0.1, 2, generator=generator)
            module.weight.data.uniform_(0.3, 2, generator=generator)
            module.bias.data.normal_(generator=generator)
    return model.eval()


def conv(inputs: int, outputs: int, size: int = 1, groups: int = 1) -> list[nn.Module]:
    layer = nn.Conv2d(inputs, outputs, size, padding=size // 2, groups=groups, bias=False)
    return [layer, nn.BatchNorm2d(outputs), nn.ReLU()]


def mobile() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [*conv(3, 8), *conv(8, 8, 3, 8), *conv(8, 16), *conv(16, 16, 3, 16), nn.AdaptiveAvgPool2d(2)]
    return trained(nn.Sequential(*layers, nn.Flatten(), nn.Linear(64, 5)))


def badly_scaled() -> nn.Sequential:
    """The same function with channels that reach a thousand times as far as others."""
    model = mobile()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for i in (0, 3, 6, 9):
            scale = 10 ** torch.empty(model[i].out_channels).uniform_(-1.5, 1.5, generator=generator)
            model[i].weight *= scale[:, None, None, None]
            model[i + 1].running_mean *= scale
            model[i + 1].running_var.copy_(scale**2 * (model[i + 1].running_var + 1e-5) - 1e-5).clamp_(min=0)
    return model


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.first, self.first_norm = nn.Conv2d(8, 12, 3, padding=1), nn.BatchNorm2d(12)
        self.second, self.second_norm = nn.Conv2d(12, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        y = torch.relu(self.first_norm(self.first(x)))
        x = torch.relu(x + self.second_norm(self.second(y)))
        return self.head(functional.max_pool2d(x, 2).mean((2, 3)))


class Block(nn.Module):
    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.RMSNorm(width)
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))
        self.up, self.gate, self.down = nn.Linear(width, 24), nn.Linear(width, 24), nn.Linear(24, width)

    def forward(self, x):
        h = self.norm1(x)
        q, k, v = (f(h).unflatten(-1, (4, 4)).transpose(1, 2) for f in (self.q, self.k, self.v))
        x = x + self.out(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        h = self.norm2(x)
        return x + self.down(self.up(h) * functional.silu(self.gate(h)))


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(50, 16)
        self.blocks = nn.ModuleList([Block(), Block()])
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 50, bias=False)

    def forward(self, ids):
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def ids(seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 50, (32, 7), generator=torch.Generator().manual_seed(seed))


def changed(model: nn.Module, x: torch.Tensor, method: CrossLayer | Smooth) -> tuple[Plan, nn.Module]:
    """The plan and the changed model, which answers inputs that it has not seen as the original does."""
    before = {name: t.clone() for name, t in model.state_dict().items()}
    task, graph = Task(evaluate=[x]), capture(model, (x,))
    plan = equalize(model, task, method=method, graph=graph)
    assert plan == equalize(model, task, method=method, graph=graph)
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    after = apply(model, plan)
    fresh = x.flip(0) if not x.is_floating_point() else x.flip(0) * 1.3 + 0.2
    with torch.no_grad():
        expected = model.double()(fresh.double() if fresh.is_floating_point() else fresh)
        got = after.double()(fresh.double() if fresh.is_floating_point() else fresh)
    model.float()
    after.float()
    # Float32 holds the new tensors: each is rounded once.
    assert (got - expected).abs().max() <= 100 * torch.finfo(torch.float32).eps * expected.abs().max()
    return plan, after


@pytest.mark.parametrize("method", METHODS, ids=str)
@pytest.mark.parametrize("make", [mobile, badly_scaled, Residual])
def test_networks_of_convolutions_answer_as_before(make, method):
    plan, _ = changed(trained(make()), images(), method)
    assert len(plan) > 4
    assert {type(edit) for edit in plan} == {Recode}
    assert {type(edit.coding) for edit in plan.recodes} == {Dense}


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_transformers_with_gates_and_both_kinds_of_norm_answer_as_before(method):
    plan, _ = changed(Transformer().eval(), ids(), method)
    where = {edit.where for edit in plan}
    assert {"blocks.0.norm1.weight", "blocks.1.norm2.weight", "norm.weight", "blocks.0.down.weight"} <= where
    assert "embed.weight" not in where


@pytest.mark.parametrize("bits", [4, 8])
def test_badly_scaled_channels_rounded_per_tensor_come_nearer_by_cross_layer_equalisation(bits):
    model, x = badly_scaled(), images()
    task = Task(evaluate=[x])
    settings = {"bits": bits, "per": "tensor", "compensate": False, "range": MinMax()}
    first = equalize(model, task)
    both = followed_by(first, quantize(apply(model, first), task, **settings))
    with torch.no_grad():
        plain = (apply(model, quantize(model, task, **settings))(x) - model(x)).norm()
        equalized = (apply(model, both)(x) - model(x)).norm()
    assert equalized < 0.5 * plain


def test_an_outlier_channel_costs_less_at_8_bits_once_smoothed():
    model, x = Transformer().eval(), ids()
    with torch.no_grad():
        for block in model.blocks:
            block.norm1.weight[3] *= 60
            block.norm2.weight[5] *= 60
            for layer, channel in ((block.q, 3), (block.k, 3), (block.v, 3), (block.up, 5), (block.gate, 5)):
                layer.weight[:, channel] /= 60
    task = Task(evaluate=[x])
    settings = {"bits": 8, "activation_bits": 8, "compensate": False, "range": MinMax()}
    first = equalize(model, task, method=Smooth())
    both = followed_by(first, quantize(apply(model, first), task, **settings))
    with torch.no_grad():
        plain = (apply(model, quantize(model, task, **settings))(x) - model(x)).norm()
        smoothed = (apply(model, both)(x) - model(x)).norm()
    assert smoothed < 0.5 * plain


def test_cross_layer_scales_make_both_sides_reach_equally_far():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    _, after = changed(model, torch.randn(8, 3), CrossLayer())
    made, read = after[0].weight.abs().amax(1), after[2].weight.abs().amax(0)
    torch.testing.assert_close(made / made.max(), read / read.max())
    old = model[0].weight.abs().amax(1) * model[2].weight.abs().amax(0)
    torch.testing.assert_close(made * read, old)


def test_scales_have_the_published_values():
    made, read, seen = (torch.tensor(v, dtype=torch.float64) for v in ([4.0, 1.0], [1.0, 4.0], [16.0, 1.0]))
    ranges = Ranges(made=made, read=read, seen=seen)
    torch.testing.assert_close(CrossLayer().scales(ranges), torch.tensor([0.5, 2.0], dtype=torch.float64))
    smooth = Smooth(alpha=0.5).scales(ranges)  # 1/4 and 2, over their geometric mean
    torch.testing.assert_close(smooth[1] / smooth[0], torch.tensor(8.0, dtype=torch.float64))
    assert smooth.log().sum().abs() < 1e-12


def test_smoothing_fully_levels_what_the_data_reaches():
    model = nn.Sequential(nn.Linear(3, 6), nn.LayerNorm(6), nn.Linear(6, 2)).eval()
    model[1].weight.data[2] = 50
    x = torch.randn(64, 3)
    _, after = changed(model, x, Smooth(alpha=1))
    largest = after[:2](x).abs().amax(0)
    torch.testing.assert_close(largest, largest.max().expand(6))


def test_depthwise_weights_are_levelled_between_two_normalisations():
    _, after = changed(badly_scaled(), images(), CrossLayer(rounds=50))
    for i in (3, 9):
        reach = after[i].weight.abs().amax((1, 2, 3))
        assert reach.max() < 1.1 * reach.min()


@pytest.mark.parametrize("activation", [nn.GELU, nn.SiLU, nn.Sigmoid, nn.Hardtanh, nn.ReLU6])
def test_activations_that_are_not_homogeneous_are_left_alone_and_named(activation):
    model = nn.Sequential(nn.Linear(3, 4), activation(), nn.Linear(4, 2)).eval()
    places = scalable(model, torch.zeros(2, 3))
    assert places.found == ()
    assert "0.weight[0]" in places.left_alone
    assert len(equalize(model, Task(evaluate=[torch.randn(4, 3)]))) == 0


class Shared(nn.Module):
    """The second layer reads what the first one makes, and is also called on what nobody may scale."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.both, self.last = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        y = self.both(torch.relu(self.first(x)))
        return self.last(torch.relu(y) + torch.relu(self.both(torch.tanh(y))))


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_a_shared_layer_changes_only_where_all_its_calls_agree(method):
    model, x = Shared().eval(), torch.randn(16, 4)
    plan, _ = changed(model, x, method)
    assert "first.weight" not in {edit.where for edit in plan}


def test_tied_embeddings_are_not_scaled_from_one_side():
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.inner, self.out = nn.Embedding(9, 4), nn.Linear(4, 4), nn.Linear(4, 9, bias=False)
            self.out.weight = self.embed.weight

        def forward(self, x):
            return self.out(torch.relu(self.inner(self.embed(x))))

    model = Tied().eval()
    assert "embed.weight" not in {edit.where for edit in changed(model, torch.arange(9)[None], CrossLayer())[0]}


class Plain(nn.Module):
    """`f(relu(first(x)))` read by a second layer."""

    def __init__(self, between) -> None:
        super().__init__()
        self.first, self.last, self.between = nn.Linear(3, 4), nn.Linear(4, 2), between

    def forward(self, x):
        return self.last(self.between(torch.relu(self.first(x))))


@pytest.mark.parametrize(
    ("between", "passes"),
    [
        (lambda y: functional.leaky_relu(y - y * 0.5, 0.1), True),
        (lambda y: functional.pad(y, (0, 0)) / 3, True),
        (lambda y: functional.dropout(y, training=False).abs(), True),
        (lambda y: y + 1, False),
        (lambda y: y * y, False),
        (lambda y: torch.div(y, 0.1, rounding_mode="floor"), False),
        (lambda y: y.int().type_as(y), False),
        (lambda y: y - y.mean(-1, keepdim=True), False),
        (lambda y: y.softmax(-1), False),
        (lambda y: functional.layer_norm(y, (4,)), False),
    ],
)
def test_only_homogeneous_operators_are_passed(between, passes):
    model, x = Plain(between).eval(), torch.randn(16, 3)
    assert (len(changed(model, x, CrossLayer())[0]) > 0) == passes


def test_a_parameter_that_is_put_beside_scaled_values_is_scaled_with_them():
    class Registers(Plain):
        def __init__(self) -> None:
            super().__init__(torch.relu)
            self.register_parameter("beside", nn.Parameter(torch.randn(2, 4)))

        def forward(self, x):
            return self.last(torch.cat([self.beside, torch.relu(self.first(x))]))

    plan, _ = changed(Registers().eval(), torch.randn(16, 3), CrossLayer())
    assert "beside" in {edit.where for edit in plan}


def test_masked_answers_are_no_reason_to_doubt_the_others():
    masked = torch.tensor([True, False])
    for endless in (-torch.inf, torch.finfo(torch.float32).min):
        model = Plain(nn.Identity()).eval()
        model.register_forward_hook(lambda _, args, answer, endless=endless: answer.masked_fill(masked, endless))
        assert len(equalize(model, Task(evaluate=[torch.randn(16, 3)]))) == 3


def test_a_channel_that_is_zero_stays_as_it_is():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    model[0].weight.data[1] = 0
    model[2].weight.data[:, 2] = 0
    _, after = changed(model, torch.randn(8, 3), CrossLayer())
    assert torch.equal(after[0].weight[2], model[0].weight[2])
    assert torch.equal(after[2].weight[:, 1], model[2].weight[:, 1])


def test_a_later_plan_replaces_what_the_first_one_stored():
    model, x = mobile(), images()
    first = equalize(model, Task(evaluate=[x]))
    later = quantize(apply(model, first), Task(evaluate=[x]), bits=8, compensate=False)
    both = followed_by(first, later)
    assert len({edit.where for edit in both}) == len(both)
    assert both.size_bytes < (first + later).size_bytes
    assert torch.equal(apply(model, both)(x), apply(model, first + later)(x))


def test_weights_that_are_not_finite_are_named():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    model[0].weight.data[0, 0] = torch.nan
    with pytest.raises(ModelError, match=r"0\.weight"):
        equalize(model, Task(evaluate=[torch.randn(4, 3)]))


def test_settings_outside_their_domain_are_refused():
    for bad in ({"rounds": 0}, {"limit": 0.5}):
        with pytest.raises(UsageError, match="CrossLayer"):
            CrossLayer(**bad)
    for bad in ({"alpha": 1.5}, {"limit": 0.5}):
        with pytest.raises(UsageError, match="Smooth"):
            Smooth(**bad)
