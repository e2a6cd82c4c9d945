"""Parameters that stay free for training and are seen by the model through their coding."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from laconic.core.coding import Coding
from laconic.core.remembered import forget


class Projection(nn.Module):
    """Projects a parameter onto a coding; the gradient goes to the free parameter unchanged."""

    def __init__(self, coding: Coding) -> None:
        super().__init__()
        self.coding = coding

    def forward(self, weight: Tensor) -> Tensor:
        """Returns the projected weight, same shape and dtype."""
        # The last term is zero, and exactly so: the value is the projection bit for bit, the gradient is the weight's.
        projected = self.coding.project(weight.detach()).to(weight.dtype)
        return projected + (weight - weight.detach())


class Projected(NamedTuple):
    """One place where a projected parameter is used.

    Args:
        name: the parameter's name in the model, as it was before the projection.
        owner: the module that uses it.
        attribute: under which name.
        free: the tensor that training changes.
        coding: onto which it is projected.
    """

    name: str
    owner: nn.Module
    attribute: str
    free: Tensor
    coding: Coding


def projections(model: nn.Module) -> Iterator[Projected]:
    """Yields every place of every projected parameter, under each of its names."""
    for path, owner in model.named_modules(remove_duplicate=False):
        chains = owner.parametrizations if parametrize.is_parametrized(owner) else None
        if isinstance(chains, nn.ModuleDict):
            for attribute, chain in chains.items():
                if isinstance(chain, parametrize.ParametrizationList) and isinstance(chain[0], Projection):
                    assert isinstance(chain.original, Tensor)
                    name = f"{path}.{attribute}".removeprefix(".")
                    yield Projected(name, owner, attribute, chain.original, chain[0].coding)


def project(owner: nn.Module, attribute: str, coding: Coding) -> None:
    """Puts a projection between a module and one of its parameters."""
    parametrize.register_parametrization(owner, attribute, Projection(coding), unsafe=True)


def unproject(place: Projected) -> None:
    """Takes the projection away again; the parameter keeps its projected value."""
    owner = place.owner
    # A module with two paths comes by twice.
    if parametrize.is_parametrized(owner, place.attribute):
        # The projected attribute is a property of a class that torch made for this module, and removing it deletes it
        # there. A deep copy of the module shares that class: without one of its own, the other would lose its weight.
        shared = type(owner)
        owner.__class__ = type(shared.__name__, shared.__bases__, dict(vars(shared)))
        parametrize.remove_parametrizations(owner, place.attribute, leave_parametrized=True)


def copied(model: nn.Module) -> nn.Module:
    """Returns a deep copy of a model that may hold projections and may just have been trained; its caches are empty."""
    # What a layer computes from its parameters and keeps, as a recurrent one or the older `weight_norm` do, has a
    # history, which deepcopy refuses.
    held = [value for module in model.modules() for value in vars(module).values()]
    held += [weight for value in held if isinstance(value, list) for weight in value]
    kept = [value for value in held if isinstance(value, Tensor) and not value.is_leaf]
    found = copy.deepcopy(model, {id(value): value.detach() for value in kept})
    forget(found)
    return found


def starting_point(weight: Tensor, coding: Coding) -> Tensor:
    """Returns a weight that projects to what the coding holds, and is the given one wherever that one does so.

    A coding need not hold the point nearest to the weight: compensated rounding picks others on purpose, and training
    has to start from those.
    """
    held = coding.decode().to(weight)
    start = torch.where(coding.project(weight).to(weight) == held, weight, held)
    return start if torch.equal(coding.project(start).to(weight), held) else held
