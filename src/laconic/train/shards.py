"""Tensors that several processes hold a part of each (FSDP2), as whole ones, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor


def whole(value: Tensor) -> Tensor:
    """Returns a tensor with the parts of all processes, which take part in it together; a plain one as it is."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def whole_state(value: Any) -> Any:
    """Returns nested dicts, lists and tuples with every tensor in them whole."""
    if isinstance(value, Tensor):
        return whole(value)
    if isinstance(value, dict):
        return {key: whole_state(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(whole_state, value))
    return value


def laid_out(value: Tensor, like: Tensor) -> Tensor:
    """Returns a whole tensor, the same in every process, laid out as another of its shape is.

    Example:
        >>> laid_out(torch.ones(2), torch.zeros(2))
        tensor([1., 1.])
    """
    if not isinstance(like, DTensor) or value.shape != like.shape:
        return value
    placed = value.to(like.device)
    return distribute_tensor(placed, like.device_mesh, like.placements, src_data_rank=None)


def laid_out_state(state: Mapping[str, Any], like: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a model's state, whole, laid out as the model's own is."""
    return {name: laid_out(v, like[name]) if isinstance(v, Tensor) and name in like else v for name, v in state.items()}


def laid_out_moments(state: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Returns an optimizer's state, whole, laid out as its parameters are."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]

    def placed(index: int, moments: Mapping[str, Any]) -> dict[str, Any]:
        return {k: laid_out(v, parameters[index]) if isinstance(v, Tensor) else v for k, v in moments.items()}

    return {**state, "state": {index: placed(index, moments) for index, moments in state["state"].items()}}
