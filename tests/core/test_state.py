from pathlib import Path

import pytest
import torch
from torch import nn

from core.samples import TOKENS, every_edit, images, net, symmetric, tied
from laconic.core.apply import apply
from laconic.core.edit import Recode, Swap
from laconic.core.errors import ArtifactError
from laconic.core.files import read_tensors
from laconic.core.plan import PLAN_FILE, TENSOR_FILE, Plan
from laconic.core.spec import LowRank
from laconic.core.state import WEIGHTS, load_state, save_state


def test_a_saved_network_is_loaded_into_a_model_with_other_weights(tmp_path: Path) -> None:
    model, plan = net(), every_edit(net())
    network = apply(model, plan)
    with torch.no_grad():
        network.conv.weight.mul_(1.5)
    save_state(tmp_path, network, plan)
    fresh = type(model)().train()
    before = {name: tensor.clone() for name, tensor in fresh.state_dict().items()}
    loaded, again = load_state(tmp_path, fresh)
    assert again == plan
    assert not loaded.training
    assert torch.equal(loaded(images()), network.eval()(images()))
    assert all(torch.equal(before[name], tensor) for name, tensor in fresh.state_dict().items())


@pytest.mark.parametrize("name", ["embed.weight", "out.weight"])
def test_what_the_plan_holds_is_not_stored_twice_under_whichever_tied_name(tmp_path: Path, name: str) -> None:
    model = tied()
    plan = Plan.of([Recode(name, symmetric(model.embed.weight))])
    network = apply(model, plan)
    save_state(tmp_path, network, plan)
    stored = read_tensors(tmp_path / WEIGHTS)
    assert not {"embed.weight", "out.weight", "again.weight"} & stored.keys()
    assert "hidden.weight" in stored
    loaded, _ = load_state(tmp_path, type(model)())
    assert torch.equal(loaded(TOKENS), network(TOKENS))
    assert loaded.embed.weight is loaded.out.weight


@pytest.mark.parametrize("file", [WEIGHTS, PLAN_FILE, TENSOR_FILE])
def test_a_missing_file_is_named(tmp_path: Path, file: str) -> None:
    save_state(tmp_path, net(), Plan())
    (tmp_path / file).unlink()
    with pytest.raises(ArtifactError, match=f"{file}: cannot be read"):
        load_state(tmp_path, net())


def test_the_state_of_another_model_is_refused_by_a_name_that_does_not_fit(tmp_path: Path) -> None:
    save_state(tmp_path, net(), Plan())
    with pytest.raises(ArtifactError, match=rf"{WEIGHTS}: does not fit the model at '\w+"):
        load_state(tmp_path, tied())
    wider = net()
    wider.fc2 = torch.nn.Linear(10, 5)
    with pytest.raises(ArtifactError, match=rf"{WEIGHTS}: does not fit the model at 'fc2.bias'"):
        load_state(tmp_path, wider)


class Lazy(torch.nn.Module):
    """Makes a table for the length that it meets, as relative positions are made."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.randn(3))
        self.register_buffer("table", torch.zeros(1), persistent=False)
        self.register_buffer("unset", None, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if len(self.table) != x.shape[1]:
            self.table = torch.arange(x.shape[1], dtype=x.dtype)
            self.unset = self.table * 2
        return x * self.scale + (self.table + self.unset)[:, None]


def test_buffers_that_code_makes_at_any_size_are_loaded_at_the_size_they_had(tmp_path: Path) -> None:
    network, x = Lazy(), torch.randn(2, 5, 3)
    expected = network(x)
    save_state(tmp_path, network, Plan())
    loaded, _ = load_state(tmp_path, fresh := Lazy())
    assert torch.equal(loaded(x), expected) and torch.equal(loaded.table, network.table)
    assert fresh.table.shape == (1,) and fresh.unset is None


def test_factors_that_the_plan_builds_are_not_stored_twice_but_are_after_training(tmp_path: Path) -> None:
    def layers() -> nn.Module:
        return nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2))

    model, plan = layers(), Plan.of([Swap("0", LowRank(torch.randn(2, 8), torch.randn(6, 2)))])
    network, x = apply(model, plan).eval(), torch.randn(3, 8)
    save_state(tmp_path, network, plan)
    assert set(read_tensors(tmp_path / WEIGHTS)) == {"0.1.bias", "2.weight", "2.bias"}
    assert torch.equal(load_state(tmp_path, layers())[0](x), network(x))
    with torch.no_grad():
        network[0][1].weight.add_(1)
    save_state(tmp_path, network, plan)
    assert set(read_tensors(tmp_path / WEIGHTS)) == {"0.1.weight", "0.1.bias", "2.weight", "2.bias"}
    assert torch.equal(load_state(tmp_path, layers())[0](x), network(x))
