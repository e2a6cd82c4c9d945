import copy

import pytest
import torch
from torch import nn

from core.samples import asymmetric, sample_codings, symmetric
from laconic.core.blocks import Blocks
from laconic.core.codings import AffineGrid, Coding
from laconic.core.projection import Projection, project, projections, starting_point, unproject

CODINGS = sample_codings()
every_coding = pytest.mark.parametrize("coding", CODINGS.values(), ids=CODINGS.keys())


@every_coding
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_projected_weight_is_the_codings_bit_for_bit(coding: Coding, dtype: torch.dtype) -> None:
    weight = (torch.randn(coding.shape) * 0.7).to(dtype)
    projected = Projection(coding)(weight)
    assert projected.dtype == dtype
    assert torch.equal(projected, coding.encode(weight).decode().to(dtype))


@every_coding
def test_the_gradient_passes_straight_through(coding: Coding) -> None:
    weight = torch.randn(coding.shape, requires_grad=True)
    gradient = torch.randn(coding.shape)
    Projection(coding)(weight).backward(gradient)
    assert weight.grad is not None
    assert torch.equal(weight.grad, gradient)


@every_coding
def test_training_starts_from_what_the_coding_holds(coding: Coding) -> None:
    start = starting_point(torch.randn(coding.shape), coding)
    assert torch.equal(coding.project(start), coding.decode())


def test_the_starting_point_is_the_weight_wherever_that_projects_to_the_code_held() -> None:
    weight = torch.tensor([0.1, 0.6, 1.2, 1.9])
    nearest = AffineGrid.fit(weight, bits=4, blocks=Blocks(shape=(4,)), scale=torch.ones(1), zero_point=None)
    assert torch.equal(starting_point(weight, nearest), weight)
    compensated = nearest.encode(torch.tensor([0.0, 0.0, 1.0, 3.0]))
    assert starting_point(weight, compensated).tolist() == [weight[0].item(), 0.0, weight[2].item(), 3.0]


def test_projections_are_found_with_the_names_of_before() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.Linear(3, 2)))
    names = {name: parameter for name, parameter in model.named_parameters() if name.endswith("weight")}
    project(model[0], "weight", symmetric(model[0].weight))
    project(model[1][0], "weight", asymmetric(model[1][0].weight))
    found = {place.name: place.free for place in projections(model)}
    assert found.keys() == names.keys()
    assert all(found[name] is parameter for name, parameter in names.items())
    assert {place.name for place in projections(copy.deepcopy(model))} == names.keys()


def test_a_parametrization_of_the_users_is_left_alone() -> None:
    model = nn.utils.parametrizations.weight_norm(nn.Linear(2, 3))
    assert list(projections(model)) == []


def test_unproject_leaves_the_same_parameter_at_its_projected_value() -> None:
    layer = nn.Linear(4, 3)
    parameter = layer.weight
    project(layer, "weight", symmetric(torch.randn(3, 4)))
    seen = layer.weight.detach().clone()
    (place,) = projections(layer)
    unproject(place)
    unproject(place)
    assert layer.weight is parameter
    assert torch.equal(layer.weight, seen)
    assert type(layer) is nn.Linear
