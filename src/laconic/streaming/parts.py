"""A model in parts: its blocks, and everything around them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from laconic.core.errors import ModelError, invalid
from laconic.streaming.shards import Shards

Answer = Callable[[tuple[Any, ...], dict[str, Any]], Any]


class StandIn(nn.Module):
    """Takes a block's place in the model: has its attributes, holds none of its weights, and answers as it is told."""

    def __init__(self, block: nn.Module, answer: Answer) -> None:
        super().__init__()
        self.__dict__["_stands_for"], self.__dict__["_answer"] = block, answer

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Returns what it was told to."""
        answer: Answer = self.__dict__["_answer"]
        return answer(args, kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_stands_for"], name)


def path_of_blocks(model: nn.Module, path: str | None = None) -> str:
    """Returns the path of a model's blocks: as told, or the longest list of modules of one class.

    Raises:
        ModelError: there is no list of at least two.
        UsageError: there is none at the path.
    """
    lists = {name: list(module.children()) for name, module in model.named_modules() if _is_list(module)}
    if path is not None:
        if path not in lists:
            raise invalid(
                "stream.blocks", path, f"the path of a list of modules: {', '.join(lists) or 'there is none'}"
            )
        return path
    alike = {name: blocks for name, blocks in lists.items() if len(blocks) > 1 and len({*map(type, blocks)}) == 1}
    if not alike:
        raise ModelError(f"stream: {type(model).__name__} has no list of modules of one class; say which with blocks=.")
    longest = max(len(blocks) for blocks in alike.values())
    first: str = next(name for name, blocks in alike.items() if len(blocks) == longest)
    return first


def _is_list(module: nn.Module) -> bool:
    return isinstance(module, nn.ModuleList | nn.Sequential)


def blocks_of(model: nn.Module, path: str) -> dict[str, nn.Module]:
    """Returns a model's blocks by their paths, in order.

    Raises:
        ModelError: two of them, or one and the rest of the model, share a parameter.
    """
    blocks = {f"{path}.{name}": block for name, block in model.get_submodule(path).named_children()}
    owners: dict[int, str] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        part = next((block for block in blocks if name.startswith(f"{block}.")), "")
        if owners.setdefault(id(parameter), part) != part:
            raise ModelError(f"stream: {name} is shared between blocks or with the rest; expected parts of their own.")
    return blocks


def around(model: nn.Module, path: str, answers: Callable[[int], Answer] | None = None) -> nn.Module:
    """Returns a copy of a model with stand-ins for its blocks.

    Args:
        model: on the meta device; left untouched.
        path: of the blocks.
        answers: place of a block -> what stands in for it answers so; None: identities stand there.
    """
    outer = copy.deepcopy(model)
    blocks = outer.get_submodule(path)
    for place, (name, block) in enumerate(list(blocks.named_children())):
        setattr(blocks, name, nn.Identity() if answers is None else StandIn(block, answers(place)))
    return outer.eval()


def in_memory(module: nn.Module) -> nn.Module:
    """Gives a module memory for what is on the meta device, in place; values are whatever they are."""
    for uses in _places(module).values():
        if uses[0][3].is_meta:
            _hold(uses, torch.empty_like(uses[0][3], device="cpu"))
    return module


def filled(module: nn.Module, prefix: str, shards: Shards) -> tuple[nn.Module, dict[str, torch.dtype]]:
    """Gives a module its tensors from files, in float32 where they are floating-point numbers.

    Args:
        module: on the meta device; changed in place.
        prefix: of its tensors' names in the files, with a dot at its end unless it is empty.
        shards: the files.

    Returns:
        The module, and the types of its tensors in the files.

    Raises:
        ModelError: a tensor is neither in the files nor in memory, or has another shape there.
    """
    places = _places(module)
    names = {key: _stored_name(key, uses, prefix, shards) for key, uses in places.items()}
    found = shards.read([name for name in names.values() if name is not None])
    types: dict[str, torch.dtype] = {}
    for key, uses in places.items():
        name = names[key]
        if name is not None:
            types[uses[0][0]] = found[name].dtype
            _put(uses, found.pop(name), prefix)
    return module.eval(), types


Use = tuple[str, nn.Module, str, Tensor]


def _places(module: nn.Module) -> dict[int, list[Use]]:
    """Returns every parameter and buffer with all places that hold it: name, owner, attribute, tensor."""
    found: dict[int, list[Use]] = {}
    for path, owner in module.named_modules(remove_duplicate=False):
        for attribute, tensor in (*owner._parameters.items(), *owner._buffers.items()):
            if tensor is not None:
                found.setdefault(id(tensor), []).append(
                    (f"{path}.{attribute}".removeprefix("."), owner, attribute, tensor)
                )
    return found


def _stored_name(key: int, uses: list[Use], prefix: str, shards: Shards) -> str | None:
    """Returns under which name a tensor is in the files; None: it is in memory already."""
    names = [f"{prefix}{name}" for name, *_ in uses]
    stored = next((name for name in names if name in shards.files), None)
    if stored is None and uses[0][3].is_meta:
        if uses[0][2] in uses[0][1]._buffers:
            raise ModelError(
                f"stream: the buffer {names[0]} is in no file and not in memory; expected either. "
                "Build the model by laconic.streaming.structure(...), which leaves buffers where they are."
            )
        shards.read(names[:1])  # Says what is missing.
    return stored


def _put(uses: list[Use], value: Tensor, prefix: str) -> None:
    name, _, _, old = uses[0]
    if value.shape != old.shape:
        raise ModelError(
            f"stream: {prefix}{name} has shape {list(value.shape)} in the checkpoint and {list(old.shape)} in the "
            "model; expected the same. Build the model from the checkpoint's own config."
        )
    _hold(uses, value.float() if value.is_floating_point() else value)


def _hold(uses: list[Use], value: Tensor) -> None:
    """Puts a tensor in all places of another one, as a parameter if that was one."""
    held = nn.Parameter(value, requires_grad=False) if isinstance(uses[0][3], nn.Parameter) else value
    for _, owner, attribute, _ in uses:
        setattr(owner, attribute, held)


def as_stored(module: nn.Module, types: Mapping[str, torch.dtype]) -> nn.Module:
    """Gives a module's tensors back the types that they had in the files."""
    for uses in _places(module).values():
        name, _, _, tensor = uses[0]
        if name in types:
            _hold(uses, tensor.detach().to(types[name]))
    return module


def bytes_in_checkpoint(part: nn.Module, types: Mapping[str, torch.dtype]) -> int:
    """Returns the bytes of a part's tensors as they are in the files."""
    tensors = dict(part.named_parameters()) | dict(part.named_buffers())
    return sum(tensors[name].numel() * dtype.itemsize for name, dtype in types.items())
