"""The captured model without some of its blocks, and the proof that nothing else changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Interpreter, Node
from torch.utils import _pytree as pytree

from laconic.core.errors import invalid
from laconic.graph.blocks import Block
from laconic.graph.capture import Graph
from laconic.graph.liveness import alive
from laconic.graph.oracle import largest_difference


def shorten(graph: Graph, removed: Sequence[Block], *, share: bool = False) -> GraphModule:
    """Returns the model without some blocks, as a trainable graph module.

    Args:
        graph: the captured model.
        removed: blocks of it; one may lie inside another.
        share: hold the user's own tensors instead of copies, for a model that is only tried.

    Raises:
        UsageError: two of them would replace the same result.

    Guarantees:
        Nodes that stay keep their names.
        Parameters and buffers that nothing reads any more are gone; ties stay ties.
    """
    instead = replacements(removed)
    module = graph.module()
    own = _counterparts(graph, module)
    for end, start in instead.items():
        # A copy, because what follows may change its input in place.
        own[end].target, own[end].args, own[end].kwargs = torch.ops.aten.clone.default, (own[start],), {}
    needed = {own[node] for node in alive(graph.program.graph, instead) if node in own}
    for node in reversed(list(module.graph.nodes)):
        if not node.users and (node.op == "get_attr" or (node.op == "call_function" and node not in needed)):
            module.graph.erase_node(node)
    _forget_unread(module)
    if not share:
        _own_tensors(module)
    module.recompile()
    return module


def replacements(removed: Sequence[Block]) -> dict[Node, Node]:
    """Returns each result that some blocks replace -> what takes its place.

    Raises:
        UsageError: two blocks would replace the same result.
    """
    found: dict[Node, Node] = {}
    for block in removed:
        if found.setdefault(block.end, block.start) is not block.start:
            raise invalid("shorten.removed", block.name, "blocks that do not replace the same result")
    return found


def shortening_error(
    graph: Graph, removed: Sequence[Block], shorter: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> float:
    """Returns how far a shorter model is from the original whose removed branches give zero.

    The original runs as captured, node by node; the result of a removed branch becomes zero, and that of a removed
    layer its input.

    Returns:
        The largest difference of any output, relative to the largest magnitude of the original's outputs.
    """
    with torch.no_grad():
        leaves = pytree.tree_leaves((tuple(args), dict(kwargs)))
        reference = _Silenced(graph, removed).run(*leaves, enable_io_processing=False)
        expected = [t for t in pytree.tree_leaves(reference) if isinstance(t, Tensor)]
        got = [t for t in pytree.tree_leaves(shorter(*args, **kwargs)) if isinstance(t, Tensor)]
    return largest_difference(got, expected)


class _Silenced(Interpreter):
    """Runs the original with the results of branches set to zero and those of layers to their inputs."""

    def __init__(self, graph: Graph, removed: Sequence[Block]) -> None:
        super().__init__(graph.module())
        own = _counterparts(graph, self.module)
        self._zero = {own[block.silenced] for block in removed if block.silenced and _adds(block)}
        self._start = {own[block.end]: own[block.start] for block in removed if not _adds(block)}
        self._starts: dict[Node, Any] = dict.fromkeys(self._start.values())

    def run_node(self, n: Node) -> Any:
        """Runs one node."""
        result = super().run_node(n)
        if n in self._start:
            result = self._starts[self._start[n]].clone()
        elif n in self._zero:
            result = torch.zeros_like(result)
        if n in self._starts:  # A copy, because what follows may change it in place.
            self._starts[n] = result.clone()
        return result


def _counterparts(graph: Graph, module: nn.Module) -> dict[Node, Node]:
    """Returns the captured operators and inputs -> the same in a graph module of it; an input may have another name."""
    copied: Any = module.graph
    by_name = {node.name: node for node in copied.nodes if node.op == "call_function"}
    found = {node: by_name[node.name] for node in graph.nodes if node.name in by_name}
    names = graph.program.graph_signature.user_inputs
    inputs = [node for node in graph.nodes if node.op == "placeholder" and node.name in names]
    return found | dict(zip(inputs, copied.find_nodes(op="placeholder"), strict=True))


def _adds(block: Block) -> bool:
    """Whether the block's end is the very addition that its branch's result goes into."""
    return block.silenced in block.end.all_input_nodes


def _forget_unread(module: GraphModule) -> None:
    """Deletes every parameter and buffer that no node reads."""
    read = {str(node.target) for node in module.graph.nodes if node.op == "get_attr"}
    listed = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    for name, _ in listed:
        if name not in read:
            path, _, attribute = name.rpartition(".")
            delattr(module.get_submodule(path), attribute)
    module.delete_all_unused_submodules()


def _own_tensors(module: GraphModule) -> None:
    """Replaces every parameter and buffer by a copy."""
    copies: dict[int, Tensor] = {}
    for owner in module.modules():
        for name, held in [*owner._parameters.items(), *owner._buffers.items()]:
            if held is not None:
                copies.setdefault(id(held), _copied(held))
                setattr(owner, name, copies[id(held)])


def _copied(tensor: Tensor) -> Tensor:
    copy = tensor.detach().clone()
    return nn.Parameter(copy, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else copy
