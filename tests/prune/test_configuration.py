import copy

import pytest
import torch
from torch import Tensor, nn

import laconic
from laconic.core.edit import Cut
from laconic.graph import capture
from laconic.graph.axes import axes
from laconic.prune import load_pruned
from laconic.prune.cutting import cut_out


class Config:
    """Settings as Hugging Face keeps them: attributes, and all of them as a dict."""

    def __init__(self, **settings: object) -> None:
        vars(self).update({"hidden_size": 12, "num_heads": 4, "head_dim": 6, "widths": [10, 16], "inner_dim": None})
        vars(self).update({"layers": 2, "name": "tiny", "labels": {"0": "no"}, **settings})

    def to_dict(self) -> dict[str, object]:
        return copy.deepcopy(vars(self))


class Layer(nn.Module):
    """Attention with heads, and two layers with a width of their own."""

    def __init__(self, config: Config, width: int) -> None:
        super().__init__()
        self.heads, self.head_dim = config.num_heads, config.head_dim
        self.q, self.k, self.v = (nn.Linear(config.hidden_size, self.heads * self.head_dim) for _ in range(3))
        self.out = nn.Linear(self.heads * self.head_dim, config.hidden_size)
        inner = config.inner_dim or width or 2 * config.hidden_size
        self.up, self.down = nn.Linear(config.hidden_size, inner), nn.Linear(inner, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (f(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2) for f in (self.q, self.k, self.v))
        y = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.out(y)
        return x + self.down(torch.relu(self.up(x)))


class Configured(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(20, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config, width) for width in config.widths)
        self.head = nn.Linear(config.hidden_size, 3)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids)
        for layer in self.layers:
            x = layer(x)
        return self.head(x.mean(1))


IDS = torch.arange(15).view(3, 5)


def model(**settings: object) -> Configured:
    torch.manual_seed(0)
    return Configured(Config(**settings)).eval()


def rebuilt(small: laconic.Pruned) -> Configured:
    twin = Configured(small.model.config).eval()
    twin.load_state_dict(small.model.state_dict())
    return twin


def test_config_follows_the_cut_and_its_class_gives_the_same_model() -> None:
    original = model()
    small = laconic.prune(original, IDS, ratio=0.3, scope="equal")
    config = small.model.config
    assert small.kind == "module" and not small.notes
    assert torch.equal(rebuilt(small)(IDS), small.model(IDS))
    assert config.num_heads < 4 or config.hidden_size < 12 or config.widths != [10, 16]
    assert config.head_dim == 6 and config.layers == 2 and config.name == "tiny" and isinstance(config.widths, list)
    assert vars(original.config) == vars(Config())


def test_config_is_part_of_the_plan_and_comes_back_with_it(tmp_path) -> None:
    small = laconic.prune(model(), IDS, ratio=0.3, scope="equal")
    (edit,) = [edit for edit in small.plan if edit.where == "config"]
    assert isinstance(edit, Cut) and "config." in str(edit)
    again = load_pruned(small.save(tmp_path / "small"), model()).model
    assert vars(again.config) == vars(small.model.config)


def cut(original: nn.Module, sizes: dict[str, int]):
    """Cuts axes of a model by name to their first indices."""
    found = axes(capture(original, (IDS,)))
    return cut_out(original, found, {found[name]: torch.arange(size) for name, size in sizes.items()}, (IDS,), {})


@pytest.mark.parametrize(
    ("settings", "sizes", "expected"),
    [
        ({}, {"layers.0.up.weight[0]": 7}, {"widths": [7, 16]}),
        ({}, {"layers.0.up.weight[0]": 7, "layers.1.up.weight[0]": 9}, {"widths": [7, 9]}),
        ({"widths": (8, 8)}, {"layers.0.up.weight[0]": 7, "layers.1.up.weight[0]": 7}, {"widths": (7, 7)}),
        ({"widths": [0, 0]}, {"layers.0.up.weight[0]": 7, "layers.1.up.weight[0]": 7}, {"inner_dim": 7}),
        ({}, {"embed.weight[1]": 9}, {"hidden_size": 9}),
        ({"hidden_size": 24}, {"embed.weight[1]": 9}, {"hidden_size": 9}),
        ({}, {"layers.0.q.weight[0]": 3, "layers.1.q.weight[0]": 3}, {"num_heads": 3}),
        (
            {"hidden_size": 16},
            {"embed.weight[1]": 9, "layers.1.up.weight[0]": 5},
            {"hidden_size": 9, "widths": [10, 5]},
        ),
    ],
)
def test_settings_that_follow(settings, sizes, expected) -> None:
    original = model(**settings)
    smaller = cut(original, sizes)
    assert smaller.kind == "module" and not smaller.notes
    assert vars(smaller.model.config) == {**vars(original.config), **expected}


@pytest.mark.parametrize(
    "sizes", [{"layers.0.q.weight[0]": 3}, {"layers.0.q.weight[0]": 3, "layers.1.q.weight[0]": 2}], ids=["one", "both"]
)
def test_layers_that_are_cut_differently_are_said_and_the_config_stays(sizes) -> None:
    smaller = cut(model(), sizes)
    (note,) = smaller.notes
    assert "the config is left as it is: no settings of it give the shape of layers." in note and "equal" in note
    assert vars(smaller.model.config) == vars(Config())


class Scaled(Configured):
    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.factor = 1.0 / config.hidden_size

    def forward(self, ids: Tensor) -> Tensor:
        return super().forward(ids) * self.factor


class Named(Configured):
    def __init__(self, config: Config, name: str) -> None:
        super().__init__(config)
        self.name = name


def test_config_that_would_give_another_function_stays() -> None:
    torch.manual_seed(0)
    smaller = cut(Scaled(Config()).eval(), {"embed.weight[1]": 9})
    assert smaller.kind == "module" and smaller.model.config.hidden_size == 12
    assert "with these settings, computes something else" in smaller.notes[0]


def test_class_that_is_not_built_from_its_config_is_left_alone() -> None:
    torch.manual_seed(0)
    smaller = cut(Named(Config(), "one").eval(), {"embed.weight[1]": 9})
    assert smaller.kind == "module" and smaller.model.config.hidden_size == 12 and "left as it is" in smaller.notes[0]


def test_random_state_is_left_as_it_was() -> None:
    before = torch.get_rng_state()
    original = model()
    torch.set_rng_state(before)
    cut(original, {"embed.weight[1]": 9})
    assert torch.equal(torch.get_rng_state(), before)


def test_without_a_config_nothing_is_said() -> None:
    original = model()
    del original.config
    assert cut(original, {"layers.0.q.weight[0]": 3}).notes == ()
