import copy

import pytest
import torch
from torch import Tensor, nn

from laconic.core.edit import Swap
from laconic.core.spec import Members
from laconic.core.task import Task
from laconic.prune import load_pruned, migrate, remove_blocks

IDS = torch.arange(15).view(3, 5)


class Config:
    """Settings as Hugging Face keeps them; `heads` equals the number of layers by chance."""

    def __init__(self, **settings: object) -> None:
        vars(self).update({"width": 8, "depth": 3, "heads": 3, "layer_types": ["plain", "plain", "scaled"]})
        vars(self).update({"label_blocks": None, "names": ["a", "b", "c"], **settings})

    def to_dict(self) -> dict[str, object]:
        return copy.deepcopy(vars(self))


class Layer(nn.Module):
    def __init__(self, config: Config, layer_idx: int) -> None:
        super().__init__()
        self.layer_idx, self.steps = layer_idx, 2
        self.scale = 0.5 if config.layer_types[layer_idx] == "scaled" else 1.0
        self.norm = nn.LayerNorm(config.width)
        self.up, self.down = nn.Linear(config.width, 12), nn.Linear(12, config.width)
        self.mix = nn.Linear(config.width, config.width)

    def forward(self, x: Tensor, *, mask: Tensor | None = None) -> Tensor:
        x = x + self.scale * self.down(torch.relu(self.up(self.norm(x))))
        return x + self.mix(x)


class Model(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(20, config.width)
        self.layers = nn.ModuleList(Layer(config, i) for i in range(config.depth))
        self.heads = nn.Linear(config.width, config.heads)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids)
        for layer in self.layers:
            x = layer(x, mask=None)
        return self.heads(x.mean(1))


class ByParity(Model):
    """Computes from a layer's position what no setting says."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        for i, layer in enumerate(self.layers):
            layer.scale = 1.0 if i % 2 else 0.25


def model(kind: type[Model] = Model, **settings: object) -> Model:
    torch.manual_seed(0)
    return kind(Config(**settings)).eval()


def without(original: Model, gone: int, ids: Tensor) -> Tensor:
    x = original.embed(ids)
    for i, layer in enumerate(original.layers):
        x = x if i == gone else layer(x)
    return original.heads(x.mean(1))


@pytest.fixture(scope="module")
def small():
    return remove_blocks(model(), IDS, names=["layers.1"])


def test_config_counts_the_layers_that_are_left_and_its_class_gives_the_same_model(small):
    original, config = model(), small.model.config
    assert (config.depth, config.heads, config.width) == (2, 3, 8) and not small.notes
    assert config.layer_types == ["plain", "scaled"] and config.names == ["a", "b", "c"]
    twin = Model(config).eval()
    twin.load_state_dict(small.model.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(twin(IDS), without(original, 1, IDS))
        assert torch.equal(twin(IDS), small.model(IDS))


def test_positions_that_layers_keep_follow(small):
    assert [layer.layer_idx for layer in small.model.layers] == [0, 1]
    assert {layer.steps for layer in small.model.layers} == {2}


def test_shorter_list_is_part_of_the_plan_and_comes_back_with_it(small, tmp_path):
    (edit,) = [e for e in small.plan if isinstance(e, Swap) and isinstance(e.spec, Members)]
    assert "2 of its modules" in str(edit)
    again = load_pruned(small.save(tmp_path / "small"), model()).model
    assert vars(again.config) == vars(small.model.config) and torch.equal(again(IDS), small.model(IDS))


def test_weights_are_fitted_before_the_layers_are_counted_anew(small):
    data = torch.randint(20, (32, 5), generator=torch.Generator().manual_seed(0))
    original = model()
    fitted = remove_blocks(original, Task(evaluate=[data]), names=["layers.1"])
    assert fitted.model.config.depth == 2 and len(original.layers) == original.config.depth == 3
    with torch.no_grad():
        errors = [float((m.model(data) - original(data)).square().mean()) for m in (fitted, small)]
    assert errors[0] < errors[1]


@pytest.mark.parametrize(
    ("kind", "name", "reason"),
    [(Model, "layers.1.mix", "parts of layers are gone"), (ByParity, "layers.1", "no settings of it give the model")],
)
def test_what_a_config_cannot_say_is_left_with_a_reason(kind, name, reason):
    small = remove_blocks(model(kind), IDS, names=[name])
    (note,) = small.notes
    assert reason in note and small.kind == "module" and small.model.config.depth == len(small.model.layers) == 3


@pytest.mark.parametrize("counted", [True, False])
def test_names_stay_where_nobody_wants_them_renumbered_or_nothing_counts_layers(counted):
    original = model()
    if not counted:
        del original.config
    small = remove_blocks(original, IDS, names=["layers.1"], renumber=not counted)
    assert not list(small.model.layers[1].parameters()) and len(small.model.layers) == 3 and not small.notes
    assert "layers.2.up.weight" in dict(small.model.named_parameters())


def test_optimizer_goes_on_with_the_layers_under_their_new_names(small):
    original = model()
    kept = [p for i, layer in enumerate(original.layers) if i != 1 for p in layer.parameters()]
    optimizer = torch.optim.SGD(kept, lr=0.1, momentum=0.9)
    original(IDS).sum().backward()
    optimizer.step()
    expected = optimizer.state[original.layers[2].up.weight]["momentum_buffer"]
    migrate(optimizer, small.plan, original, small.model)
    assert optimizer.state[small.model.layers[1].up.weight]["momentum_buffer"] is expected


def test_optimizer_forgets_the_layers_that_are_gone(small):
    original = model()
    optimizer = torch.optim.SGD(original.parameters(), lr=0.1, momentum=0.9)
    original(IDS).sum().backward()
    optimizer.step()
    migrate(optimizer, small.plan, original, small.model)
    held = optimizer.param_groups[0]["params"]
    assert {id(p) for p in held} == {id(p) for p in small.model.parameters()} >= {id(p) for p in optimizer.state}
