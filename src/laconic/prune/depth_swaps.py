"""Edits of the user's own modules that leave blocks out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.fx import Node

from laconic.core.edit import Swap
from laconic.core.plan import Plan
from laconic.core.spec import Identity, Skipped, Spec
from laconic.graph import Graph
from laconic.graph.blocks import Block
from laconic.graph.calls import ModuleCall, module_calls
from laconic.graph.liveness import alive, is_tensor
from laconic.graph.operators import PASSING, name_of
from laconic.graph.shortening import replacements

Zeros = Literal["zeros", "zero"]


def swaps(
    model: nn.Module, graph: Graph, removed: Sequence[Block], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Iterator[Plan]:
    """Yields ways to leave blocks out of the user's own model; which of them computes the right thing, a proof decides.

    The outermost modules that become the identity are replaced by it. Of the others, the outermost that compute nothing
    any more become zeros: of their input's shape, or in the second way of size one, which broadcasts.

    Args:
        model: the original.
        graph: captured from it.
        removed: blocks of the graph.
        args: positional inputs, to see what modules return.
        kwargs: named inputs.
    """
    identities, silent = _outermost(graph, removed)
    interfaces = _interfaces(model, {*identities, *silent}, args, kwargs)
    ways: tuple[Zeros, ...] = ("zeros", "zero")
    for zeros in ways if silent else ways[:1]:
        yield Plan.of(
            Swap(path, _spec(interfaces.get(path), "input" if path in identities else zeros))
            for path in (*identities, *silent)
        )


def _spec(interface: _Interface | None, output: Literal["zeros", "zero", "input"]) -> Spec:
    if output == "input" and (interface is None or interface == (1, None)):
        return Identity()
    return Skipped(output=output, entries=None if interface is None else interface[1])


def _outermost(graph: Graph, removed: Sequence[Block]) -> tuple[list[str], list[str]]:
    """Returns the paths of the outermost modules that become the identity, and of those that compute nothing."""
    instead = replacements(removed)
    live = alive(graph.program.graph, instead)
    # What the user's code still adds up is the other operand, once the branch is zero.
    sums = {user: block.start for block in removed if block.silenced for user in block.silenced.users}
    by_path: dict[str, list[ModuleCall]] = {}
    for call in module_calls(graph):
        by_path.setdefault(call.path, []).append(call)
    identities: list[str] = []
    silent: list[str] = []
    for path, calls in by_path.items():
        if not any(path.startswith(f"{outer}.") for outer in (*identities, *silent)):
            if all(_passes(call, live, instead, sums) for call in calls):
                identities.append(path)
            elif not any(node in live for call in calls for node in call.nodes):
                silent.append(path)
    return identities, silent


def _passes(call: ModuleCall, live: set[Node], instead: Mapping[Node, Node], sums: Mapping[Node, Node]) -> bool:
    """Whether a call gives back the first activation that it reads, now that some results are replaced."""
    inside = set(call.nodes)
    ends = [
        node for node in call.nodes if node in live and any(_reads(u, live) and u not in inside for u in node.users)
    ]
    if len(ends) != 1 or not any(node in instead for node in inside):
        return False
    node, passed = ends[0], set()
    while node in inside:
        passed.add(node)
        source = _source(node, instead)
        if source is None:
            return False
        node = source
    first = next((s for n in call.nodes for s in n.all_input_nodes if s not in inside and _floats(s)), None)
    return first is not None and node in (first, sums.get(first)) and inside & live == passed


def _source(node: Node, instead: Mapping[Node, Node]) -> Node | None:
    """Returns the earlier node that a node's value is, if it is one; a second ReLU does nothing."""
    if node in instead:
        return instead[node]
    if name_of(node) in PASSING:
        return node.all_input_nodes[0]
    if name_of(node) == "relu":
        before = node.all_input_nodes[0]
        rectified = before
        while rectified in instead:
            rectified = instead[rectified]
        return before if name_of(rectified) == "relu" else None
    return None


def _reads(user: Node, live: set[Node]) -> bool:
    return user in live and (is_tensor(user) or user.op == "output")


def _floats(node: Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.is_floating_point() and not isinstance(value, nn.Parameter)


_Interface = tuple[int, int | None]
"""How many arguments a module is called with, and how many entries it returns; None for a tensor."""


def _interfaces(
    model: nn.Module, paths: set[str], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> dict[str, _Interface]:
    """Runs the model once and looks at its modules."""
    found: dict[str, _Interface] = {}
    handles = []
    modes = {module: module.training for module in model.modules()}
    for path in sorted(paths):

        def look(module: nn.Module, a: tuple[Any, ...], k: dict[str, Any], output: Any, path: str = path) -> None:
            found[path] = (len(a) + len(k), len(output) if isinstance(output, tuple | list) else None)

        handles.append(model.get_submodule(path).register_forward_hook(look, with_kwargs=True))
    try:
        with torch.no_grad():
            model.eval()(*args, **kwargs)
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes.items():
            module.training = training
    return found
