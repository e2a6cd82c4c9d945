import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from laconic.core.apply import apply
from laconic.core.task import Task
from laconic.measure import kl_divergence
from laconic.quantize import MinMax, Rotation, RoundActivations, equalize, quantize, turnable


class Norm(nn.Module):
    """Written out, as in most language models."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(width) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        exact = x.to(torch.float32)
        return self.weight * (exact * torch.rsqrt(exact.pow(2).mean(-1, keepdim=True) + 1e-6)).to(x.dtype)


class Attention(nn.Module):
    def __init__(self, width: int, *, bias: bool) -> None:
        super().__init__()
        self.heads = 2
        self.q, self.k, self.v, self.out = (nn.Linear(width, width, bias=bias) for _ in range(4))

    def forward(self, h: Tensor) -> Tensor:
        q, k, v = (f(h).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.q, self.k, self.v))
        return self.out(functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, width: int, norm: type[nn.Module]) -> None:
        super().__init__()
        self.before, self.between = norm(width), norm(width)
        self.attention = Attention(width, bias=norm is nn.LayerNorm)
        self.up, self.gate, self.down = nn.Linear(width, 24), nn.Linear(width, 24), nn.Linear(24, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.before(x))
        h = self.between(x)
        return x + self.down(self.up(h) * functional.silu(self.gate(h)))


class Language(nn.Module):
    """Token and position embeddings, blocks, a last norm and a head."""

    def __init__(self, norm: type[nn.Module], width: int = 12) -> None:
        super().__init__()
        self.embed, self.places = nn.Embedding(50, width), nn.Embedding(9, width)
        self.blocks = nn.ModuleList([Block(width, norm), Block(width, norm)])
        self.norm, self.head = norm(width), nn.Linear(width, 50, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids) + self.places(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class Vision(nn.Module):
    """Patches by a convolution, a class token, positions as a parameter."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, stride=4)
        self.token, self.places = nn.Parameter(torch.randn(1, 1, width)), nn.Parameter(torch.randn(1, 5, width))
        self.block, self.norm, self.head = Block(width, nn.LayerNorm), nn.LayerNorm(width), nn.Linear(width, 3)

    def forward(self, images: Tensor) -> Tensor:
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.places
        return self.head(self.norm(self.block(x * 0.5))[:, 0])


def lively(model: nn.Module) -> nn.Module:
    """Gains and shifts as after training."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.weight.data.uniform_(0.5, 2, generator=generator)
            module.bias.data.normal_(generator=generator)
    return model.eval()


def ids(seed: int = 0) -> Tensor:
    return torch.randint(0, 50, (16, 7), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", [2, 3, 8, 12, 28])
@pytest.mark.parametrize("keep_mean", [False, True])
def test_a_rotation_is_orthogonal_and_keeps_the_mean_where_asked(size: int, keep_mean: bool) -> None:
    matrix = Rotation(seed=3).matrix(size, keep_mean=keep_mean)
    torch.testing.assert_close(matrix @ matrix.mT, torch.eye(size).double())
    ones = torch.ones(size).double()
    assert torch.allclose(matrix @ ones, ones) == keep_mean
    assert torch.equal(Rotation(seed=3).matrix(size, keep_mean=keep_mean), matrix)
    assert not torch.equal(Rotation(seed=4).matrix(28, keep_mean=keep_mean), Rotation().matrix(28, keep_mean=keep_mean))


@pytest.mark.parametrize("size", [16, 64])
def test_an_outlier_is_spread_evenly_over_powers_of_two(size: int) -> None:
    spread = torch.eye(size).double()[5] @ Rotation().matrix(size, keep_mean=False)
    assert torch.allclose(spread.abs(), torch.full((size,), size**-0.5).double())


@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        (Language(Norm), ids),
        (Language(nn.RMSNorm), ids),
        (Language(nn.LayerNorm), ids),
        (Vision(), lambda seed=0: torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(seed))),
    ],
    ids=["written-out norm", "rms norm", "layer norm", "vision"],
)
def test_a_turned_model_answers_the_same_on_inputs_it_has_not_seen(model: nn.Module, inputs) -> None:
    model = lively(model)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    plan = equalize(model, Task(evaluate=[inputs()]), method=Rotation())
    (stream,) = turnable(model, (inputs(),)).found
    assert {edit.where for edit in plan} <= {turn.tensor for turn in stream.turns}
    turned = apply(model, plan)
    parts = [name for name, p in before.items() if p.dim() > 1 and stream.size in p.shape]
    assert all(not torch.equal(turned.get_parameter(name), before[name]) for name in parts)
    with torch.no_grad():
        torch.testing.assert_close(turned(inputs(7)), model(inputs(7)), rtol=1e-4, atol=1e-4)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


def with_outliers() -> nn.Module:
    """Two channels of the stream reach thirty times as far as the others, which is what large models learn."""
    torch.manual_seed(0)
    model = lively(Language(nn.LayerNorm, 64))
    with torch.no_grad():
        for writer in (model.embed, model.places):
            writer.weight[:, [3, 40]] *= 30
        for block in model.blocks:
            for writer in (block.attention.out, block.down):
                writer.weight[[3, 40]] *= 30
    return model


def test_rounding_weights_and_vectors_to_four_bits_loses_less_where_outliers_are_spread() -> None:
    model, task, held = with_outliers(), Task(evaluate=[ids()]), ids(5)
    turned = apply(model, equalize(model, task, method=Rotation()))
    rounding = RoundActivations(bits=4, per="token")

    def distance(changed: nn.Module) -> float:
        plan = quantize(changed, task, bits=4, activations=rounding, compensate=False, range=MinMax())
        with torch.no_grad():
            return kl_divergence(model(held), apply(changed, plan)(held)).mean().item()

    assert distance(turned) < 0.5 * distance(model)


class Tied(Language):
    def __init__(self) -> None:
        super().__init__(nn.RMSNorm)
        self.head.weight = self.embed.weight


class Scaled(Language):
    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks[0](torch.relu(self.embed(ids)))))


class Bare(Language):
    def forward(self, ids: Tensor) -> Tensor:
        return self.blocks[0](self.embed(ids))


class Shifted(Language):
    def __init__(self) -> None:
        super().__init__(nn.LayerNorm)
        lively(self).norm.weight.data[2] = 1e-6


class After(nn.Module):
    """A norm behind the addition, whose gain no weight alone takes up."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)
        self.norm = nn.RMSNorm(4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(self.first(x))
        return self.third(h + self.second(h))


@pytest.mark.parametrize(
    ("model", "x", "reason"),
    [
        (Scaled(nn.RMSNorm), ids(), "relu"),
        (Bare(nn.RMSNorm), ids(), None),
        (Shifted(), ids(), "shift has no gain to speak of"),
        (After(), torch.randn(3, 4), "in second"),
    ],
    ids=["relu", "answer", "tiny gain", "norm after"],
)
def test_what_cannot_be_turned_is_left_alone_and_says_why(model: nn.Module, x: Tensor, reason: str | None) -> None:
    streams = turnable(model.eval(), (x,))
    assert not any(len(stream.turns) > 3 for stream in streams.found)
    if reason is not None:
        assert any(reason in why for why in streams.left_alone.values()), str(streams)


def test_a_tied_head_is_left_alone_since_the_gain_before_it_cannot_move() -> None:
    model = Tied().eval()
    assert "shared" in str(turnable(model, (ids(),)))
    assert not equalize(model, Task(evaluate=[ids()]), method=Rotation()).edits
