"""Sizes that a captured graph takes as they come: which are asked for, and which became so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from laconic.graph.sizes import Sizes

Places = dict[int, set[int]]
"""Number of a tensor among all that are passed -> its dimensions."""


def places(inputs: tuple[Any, Any], batch: bool, sizes: Sizes) -> Places:
    """Returns where sizes are to be symbolic: that of the batch, if wished, and others."""
    leaves, given = tensors_in(inputs), _given(inputs)
    batched = batch_leaves(inputs) if batch else []
    found = {i: {0} for i, leaf in enumerate(leaves) if any(leaf is one for one in batched)}
    for number, dims in sizes.items():
        place = next(i for i, leaf in enumerate(leaves) if leaf is given[number])
        found.setdefault(place, set()).update(dims)
    return found


def at_least_two(inputs: tuple[Any, Any], places: Places) -> tuple[Any, Any]:
    """Repeats what there is one of: `torch.export` treats a size of one as a constant."""
    leaves, spec = pytree.tree_flatten(inputs)
    where = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
    for i, dims in places.items():
        for dim in dims:
            tensor = leaves[where[i]]
            if tensor.shape[dim] == 1:
                leaves[where[i]] = torch.cat([tensor, tensor], dim)
    doubled: tuple[Any, Any] = pytree.tree_unflatten(leaves, spec)
    return doubled


def batch_symbols(program: ExportedProgram, inputs: Any) -> frozenset[Any]:
    """Returns the symbols of the batch size, or none where one of the inputs could not be made dynamic."""
    sizes: list[Any] = [value.shape[0] for value in _inputs(program) if value.dim() > 0]
    symbolic = [size.node.expr for size in sizes if isinstance(size, torch.SymInt) and size.node.expr.is_Symbol]
    return frozenset(symbolic) if len(symbolic) == len(batch_leaves(inputs)) else frozenset()


def size_symbols(program: ExportedProgram, batch: frozenset[Any]) -> dict[Any, int]:
    """Returns the other symbols -> their sizes as captured."""
    sizes: list[Any] = [size for value in _inputs(program) for size in value.shape if _varies(size)]
    return {s.node.expr: int(s.node.hint) for s in sizes if s.node.expr.is_Symbol and s.node.expr not in batch}


def dynamic_sizes(program: ExportedProgram, inputs: tuple[Any, Any], sizes: Sizes) -> dict[int, dict[int, Any]]:
    """Returns those of some sizes that are symbolic, with what they are called; named inputs may have changed order."""
    args, kwargs = inputs
    keys = [(part, key) for part, listed in ((0, enumerate(args)), (1, kwargs.items())) for key, _ in _only(listed)]
    leaves = pytree.tree_leaves(program.example_inputs)
    nodes = {node.name: node for node in program.graph.nodes}
    found: dict[int, dict[int, Any]] = {}
    for number, dims in sizes.items():
        part, key = keys[number]
        tensor = program.example_inputs[part][key]
        place = next(i for i, leaf in enumerate(leaves) if leaf is tensor)
        shape = nodes[program.graph_signature.user_inputs[place]].meta["val"].shape
        symbolic = {dim: shape[dim].node.expr for dim in dims if _varies(shape[dim])}
        if symbolic:
            found[number] = symbolic
    return found


def _varies(size: Any) -> bool:
    return isinstance(size, torch.SymInt) and bool(size.node.expr.free_symbols)


def captured_batch(program: ExportedProgram) -> int:
    """Returns the samples in the example inputs."""
    leaves = batch_leaves(program.example_inputs)
    return int(leaves[0].shape[0]) if leaves else 1


def tensors_in(inputs: Any) -> list[Tensor]:
    """Returns all tensors, wherever in the inputs they are."""
    return [t for t in pytree.tree_leaves(inputs) if isinstance(t, Tensor)]


def batch_leaves(inputs: Any) -> list[Tensor]:
    """Returns those with an entry a sample: as many as the first has."""
    tensors = [t for t in tensors_in(inputs) if t.dim() > 0]
    return [t for t in tensors if t.shape[0] == tensors[0].shape[0]]


def _given(inputs: tuple[Any, Any]) -> list[Tensor]:
    """Returns the tensors that are passed by themselves, as `Batch.inputs` lists them."""
    args, kwargs = inputs
    return [value for _, value in _only([*enumerate(args), *kwargs.items()])]


def _only(items: Iterable[tuple[Any, Any]]) -> list[tuple[Any, Tensor]]:
    return [(key, value) for key, value in items if isinstance(value, Tensor)]


def _inputs(program: ExportedProgram) -> Iterator[Tensor]:
    names = set(program.graph_signature.user_inputs)
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in names and isinstance(node.meta.get("val"), Tensor):
            yield node.meta["val"]
