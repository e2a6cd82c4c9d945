"""A compressed network on disk: the plan holds what it recodes, a safetensors file the rest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from laconic.core.apply import apply
from laconic.core.edit import Swap
from laconic.core.errors import ArtifactError
from laconic.core.files import read_tensors, write_tensors
from laconic.core.plan import Plan
from laconic.core.sizes import tensors_size

WEIGHTS = "weights.safetensors"


def save_state(folder: Path, network: nn.Module, plan: Plan) -> None:
    """Writes a plan and every tensor of the compressed network that it does not hold; tied tensors once."""
    plan.save(folder)
    write_tensors(folder / WEIGHTS, _not_held(network, plan))


def state_size(network: nn.Module, plan: Plan) -> int:
    """Returns the bytes of the files that `save_state` would write, headers included."""
    return plan.size_bytes + tensors_size(_not_held(network, plan))


def load_state(folder: Path, model: nn.Module) -> tuple[nn.Module, Plan]:
    """Reads back what `save_state` wrote.

    Args:
        folder: where it was written.
        model: the original, or one built by the same code; it is left untouched and its weights do not matter.

    Returns:
        The compressed network in eval mode, and its plan.

    Raises:
        ArtifactError: a file is missing or damaged, or the state is that of another model.
    """
    plan, dense = Plan.load(folder), read_tensors(folder / WEIGHTS)
    network = apply(model, plan)
    _size_lazy_buffers(network, dense)
    expected = _dense(network, plan)
    needed = _shapes(_not_held(network, plan))
    if misfits := (needed - _shapes(dense)) | (_shapes(dense) - _shapes(expected)):
        first, _ = min(misfits)
        raise ArtifactError(
            f"{folder / WEIGHTS}: does not fit the model at {first!r}. Build the model it was made from."
        )
    with torch.no_grad():
        for name, tensor in dense.items():
            expected[name].copy_(tensor)
    return network.eval(), plan


def _size_lazy_buffers(network: nn.Module, saved: Mapping[str, Tensor]) -> None:
    """Gives buffers that no state has the sizes that were saved: code makes them anew at the sizes that it meets."""
    for path, owner in network.named_modules():
        for name in owner._non_persistent_buffers_set:
            tensor, held = saved.get(f"{path}.{name}".removeprefix(".")), owner._buffers.get(name)
            if tensor is not None and (held is None or held.shape != tensor.shape):
                owner._buffers[name] = tensor if held is None else tensor.to(held)


def _dense(network: nn.Module, plan: Plan) -> dict[str, Tensor]:
    """Returns every tensor of the network once, but those that the plan recodes under any of their names."""
    names = dict(network.named_parameters(remove_duplicate=False)) | dict(network.named_buffers(remove_duplicate=False))
    coded = {id(names[edit.parameter]) for edit in plan.recodes if edit.parameter in names}
    held = dict(network.named_parameters()) | dict(network.named_buffers())
    return {name: tensor for name, tensor in held.items() if id(tensor) not in coded}


def _not_held(network: nn.Module, plan: Plan) -> dict[str, Tensor]:
    """Returns what `_dense` does, but for weights of swapped modules that are still what the plan builds them with."""
    modules = dict(network.named_modules(remove_duplicate=False))
    swapped = [(modules[e.module], e.tensors()) for e in plan if isinstance(e, Swap) and e.module in modules]
    held = {
        id(parameter)
        for module, initial in swapped
        for parameter in module.parameters()
        if any(parameter.shape == t.shape and torch.equal(parameter, t.to(parameter)) for t in initial.values())
    }
    return {name: tensor for name, tensor in _dense(network, plan).items() if id(tensor) not in held}


def _shapes(tensors: Mapping[str, Tensor]) -> set[tuple[str, tuple[int, ...]]]:
    return {(name, tuple(tensor.shape)) for name, tensor in tensors.items()}
