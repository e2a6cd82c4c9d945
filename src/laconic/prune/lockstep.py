"""Two models of the same graph, run side by side and node by node over the same batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.fx import GraphModule, Interpreter, Node
from torch.utils import _pytree as pytree


class Place(NamedTuple):
    """Where a tensor is held."""

    owner: nn.Module
    attribute: str
    name: str

    @property
    def tensor(self) -> Tensor:
        """The tensor."""
        held: Tensor = getattr(self.owner, self.attribute)
        return held


class Run:
    """A graph module that stops after every node; values are forgotten after their last use.

    Args:
        module: what runs.
        batches: positional and named inputs of each batch; all of a node's results are in memory at once.
    """

    def __init__(self, module: GraphModule, batches: Sequence[tuple[Sequence[Any], Mapping[str, Any]]]) -> None:
        self._module = module
        self._interpreter = Interpreter(module)
        self._inputs = [iter(pytree.tree_leaves((tuple(args), dict(kwargs)))) for args, kwargs in batches]
        self._values: list[dict[Node, Any]] = [{} for _ in batches]
        self._last_uses = _last_uses(module)
        self.nodes = {node.name: node for node in module.graph.nodes}

    def step(self, node: Node) -> None:
        """Runs one node on every batch, and before it what it reads that has not run: sizes that a cut scales."""
        for values, inputs in zip(self._values, self._inputs, strict=True):
            self._interpreter.env = values
            if node.op == "placeholder":
                values[node] = next(inputs)
            else:
                self._run(node, values)

    def _run(self, node: Node, values: dict[Node, Any]) -> None:
        for source in node.all_input_nodes:
            if source not in values:
                self._run(source, values)
        values[node] = self._interpreter.run_node(node)

    def values(self, node: Node) -> list[Tensor]:
        """Returns a node's result on every batch."""
        return [values[node] for values in self._values]

    def has(self, node: Node) -> bool:
        """Whether a node's result is there."""
        return all(node in values for values in self._values)

    def constant(self, node: Any) -> Tensor | None:
        """Returns the parameter or buffer that an argument is; None if it is none."""
        if not isinstance(node, Node) or node.op != "get_attr":
            return None
        found: Tensor = _attribute(self._module, str(node.target))
        return found

    def forget(self, node: Node) -> None:
        """Lets go of what no later node reads."""
        for values in self._values:
            for source in self._last_uses.get(node, ()):
                values.pop(source, None)

    def place(self, node: Any) -> Place | None:
        """Returns the parameter or buffer that an argument is, if it is one and nothing else reads it."""
        if not isinstance(node, Node) or node.op != "get_attr" or self._readers(str(node.target)) > 1:
            return None
        path, _, attribute = str(node.target).rpartition(".")
        return Place(self._module.get_submodule(path), attribute, str(node.target))

    def _readers(self, target: str) -> int:
        tensor = _attribute(self._module, target)
        nodes = [node for node in self.nodes.values() if node.op == "get_attr"]
        return sum(len(node.users) for node in nodes if _attribute(self._module, str(node.target)) is tensor)


def _attribute(module: GraphModule, target: str) -> Any:
    path, _, attribute = target.rpartition(".")
    return getattr(module.get_submodule(path), attribute)


def _last_uses(module: GraphModule) -> dict[Node, list[Node]]:
    """Returns node -> the nodes whose results nothing after it reads."""
    found: dict[Node, list[Node]] = {}
    seen: set[Node] = set()
    for node in reversed(list(module.graph.nodes)):
        for source in (node, *node.all_input_nodes):
            if source not in seen:
                seen.add(source)
                found.setdefault(node, []).append(source)
    return found
