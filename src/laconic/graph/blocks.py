"""Stretches of a graph that the model runs without: branches beside a residual stream, and whole layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from torch import Tensor
from torch.fx import Node

from laconic.graph.calls import covered, module_calls
from laconic.graph.capture import Graph
from laconic.graph.costs import macs_by_node
from laconic.graph.liveness import alive, is_tensor
from laconic.graph.operators import arguments, name_of
from laconic.graph.weights import weight_names

BlockKind = Literal["branch", "layer"]
NORMALISATIONS = frozenset({"layer_norm", "rms_norm", "batch_norm", "group_norm"})
LEAST = 1e-3
"""A block that saves less than this of the MACs and of the parameters is not worth a look."""
MOST = 0.5
"""A layer with more than this of the MACs is the model, not a part of it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Block:
    """What runs no more when one result is taken from an earlier place.

    Args:
        name: path of the module where the block is exactly one call, else the paths it covers; unique in the model.
        kind: `branch` - `f` of `x + f(x)`, whose result counts as zero; `layer` - a module whose input is its output.
        end: the result that is replaced.
        start: the result that takes its place; of the same shape.
        silenced: the branch's own result; None for a layer.
        nodes: what runs no more, tensors only.
        parameters: canonical names of what nothing reads any more.
        macs: multiply-accumulates saved for one sample.
        parameter_count: elements of those parameters.
    """

    name: str
    kind: BlockKind
    end: Node
    start: Node
    silenced: Node | None
    nodes: frozenset[Node]
    parameters: tuple[str, ...]
    macs: int
    parameter_count: int

    def __str__(self) -> str:
        return f"{self.name} ({self.kind}): {self.macs:,} MACs, {self.parameter_count:,} parameters"


def blocks(graph: Graph) -> tuple[Block, ...]:
    """Finds what can be left out so that the model still runs: nothing but the graph says where.

    A branch is an operand of an addition that reads what the other operand is made of, so `x + f(x)`, also beside a
    projected or padded shortcut; where `x` comes out of a normalisation and only a normalisation reads the sum
    (post-norm), there is a second block that leaves this out as well. A layer is a module with modules inside it whose
    result has the shape of what it reads first.

    Returns:
        In the order of execution; blocks may lie inside others.

    Guarantees:
        Nothing outside a block reads anything in it but its end.
        A block holds a product with a parameter, and saves at least a thousandth of the MACs or of the parameters.

    Example:
        >>> import torch
        >>> from laconic.graph.capture import capture
        >>> class Residual(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.inner = torch.nn.Linear(3, 3)
        ...     def forward(self, x):
        ...         return x + self.inner(x)
        >>> [str(block) for block in blocks(capture(Residual(), (torch.zeros(2, 3),)))]
        ['inner (branch): 9 MACs, 12 parameters']
    """
    search = _Search(graph)
    found = [block for block in (*search.branches(), *search.layers()) if search.is_worth_it(block)]
    order = {node: i for i, node in enumerate(graph.nodes)}
    found.sort(key=lambda block: (order[block.end], len(block.nodes)))
    return tuple(_named_apart(search.without_twins(found)))


def freed(graph: Graph, instead: Mapping[Node, Node]) -> tuple[str, ...]:
    """Returns the canonical names of the parameters that nothing reads any more when results are replaced."""
    before, after = alive(graph.program.graph, {}), alive(graph.program.graph, instead)
    read = {graph.sources[node.name] for node in after if node.name in graph.sources}
    gone = {graph.sources[node.name] for node in before - after if node.name in graph.sources}
    return tuple(name for name in graph.parameters if name in gone - read)


class _Search:
    """One search for blocks, with what all candidates need."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._before = alive(graph.program.graph, {})
        self._macs = macs_by_node(graph)
        self._weights = weight_names(graph)
        self._calls = module_calls(graph)
        self._own = {node: 1 << i for i, node in enumerate(graph.nodes) if self._is_activation(node)}

    @cached_property
    def _made_of(self) -> dict[Node, int]:
        """Node -> the activations it is made of, itself included, as bits."""
        found: dict[Node, int] = {}
        for node in self._graph.nodes:
            found[node] = self._own.get(node, 0)
            for source in node.all_input_nodes:
                found[node] |= found[source]
        return found

    def is_worth_it(self, block: Block) -> bool:
        """Whether a block holds a weight's product, saves something that counts, and is not the model."""
        macs = sum(self._macs.values())
        parameters = sum(p.numel() for p in self._graph.parameters.values())
        saves = block.macs >= LEAST * macs or block.parameter_count >= LEAST * parameters
        return block.macs > 0 and saves and not (block.kind == "layer" and block.macs > MOST * macs)

    def without_twins(self, found: list[Block]) -> list[Block]:
        """Of blocks that save the same, the smallest stays; a layer goes where a branch saves the same products."""
        smallest: dict[object, Block] = {}
        for block in sorted(found, key=lambda block: (block.kind, len(block.nodes))):
            products = block.nodes.intersection(self._macs)
            if block.kind == "branch" or products not in smallest:
                smallest.setdefault((block.parameters, products), block)
                smallest.setdefault(products, block)
        return [block for block in found if block in smallest.values()]

    def branches(self) -> Iterator[Block]:
        """Yields the branches."""
        for node in self._graph.nodes:
            if name_of(node) == "add" and self._is_activation(node):
                given = arguments(node)
                first, second = given.get("self"), given.get("other")
                yield from self._branch(node, first, second)
                if given.get("alpha", 1) == 1:
                    yield from self._branch(node, second, first)

    def layers(self) -> Iterator[Block]:
        """Yields the layers."""
        for call in self._calls:
            inside = set(call.nodes)
            ends = [node for node in call.nodes if any(u not in inside and self._counts(u) for u in node.users)]
            read = [s for n in call.nodes for s in n.all_input_nodes if s not in inside and self._is_activation(s)]
            if call.composite and len(ends) == 1 and read and _alike(read[0], ends[0]):
                yield self._block("layer", ends[0], read[0], None)

    def _branch(self, end: Node, kept: object, silenced: object) -> Iterator[Block]:
        if not (isinstance(kept, Node) and isinstance(silenced, Node) and _alike(kept, end) and kept is not silenced):
            return
        if not self._is_activation(silenced):
            return
        block = self._block("branch", end, kept, silenced)
        if silenced in block.nodes and any(self._own[entry] & self._made_of[kept] for entry in self._entries(block)):
            yield block
            readers = [user for user in end.users if self._counts(user)]
            if len(readers) == 1 and _is_post_norm(kept, end, readers[0]):
                yield self._block("branch", readers[0], kept, silenced)

    def _block(self, kind: BlockKind, end: Node, start: Node, silenced: Node | None) -> Block:
        after = alive(self._graph.program.graph, {end: start})
        gone = (self._before - after) | {end}
        nodes = frozenset(node for node in gone if node.op == "call_function" and is_tensor(node))
        parameters = freed(self._graph, {end: start})
        return Block(
            name=self._name(nodes, parameters) or end.name,
            kind=kind,
            end=end,
            start=start,
            silenced=silenced,
            nodes=nodes,
            parameters=parameters,
            macs=sum(self._macs.get(node, 0) for node in nodes),
            parameter_count=sum(self._graph.parameters[name].numel() for name in parameters),
        )

    def _entries(self, block: Block) -> set[Node]:
        """Returns the activations from outside that a block reads before its end."""
        return {
            source
            for node in block.nodes - {block.end}
            for source in node.all_input_nodes
            if source not in block.nodes and self._is_activation(source)
        }

    def _name(self, nodes: frozenset[Node], parameters: tuple[str, ...]) -> str:
        """Returns the path of the one module that is covered, or what several have in common and the rest of each."""
        names = [name for parameter in parameters for name in self._graph.aliases[parameter]]
        unread = {node for node in self._graph.nodes if node not in self._before}
        calls = covered(self._calls, nodes | unread)
        paths = [call.path for call in calls if not nodes.isdisjoint(call.nodes)]
        paths = [path for path in paths if not names or any(name.startswith(f"{path}.") for name in names)]
        parts = [path.split(".") for path in dict.fromkeys(paths)]
        if len(parts) < 2:
            return paths[0] if paths else ""
        common = 0
        while all(len(part) > common + 1 and part[common] == parts[0][common] for part in parts):
            common += 1
        rest = ", ".join(".".join(part[common:]) for part in parts)
        return ".".join([*parts[0][:common], f"({rest})"])

    def _is_activation(self, node: Node) -> bool:
        value = node.meta.get("val")
        known = node.op == "call_function" or node.name in self._graph.program.graph_signature.user_inputs
        floating = isinstance(value, Tensor) and value.is_floating_point()
        return known and floating and node not in self._weights

    def _counts(self, user: Node) -> bool:
        return user in self._before and (is_tensor(user) or user.op == "output")


def _alike(start: Node, end: Node) -> bool:
    first, second = start.meta.get("val"), end.meta.get("val")
    if not isinstance(first, Tensor) or not isinstance(second, Tensor):
        return False
    return tuple(map(str, first.shape)) == tuple(map(str, second.shape)) and first.dtype == second.dtype


def _is_post_norm(kept: Node, end: Node, reader: Node) -> bool:
    return name_of(reader) in NORMALISATIONS and name_of(kept) == name_of(reader) and _alike(end, reader)


def _named_apart(found: list[Block]) -> Iterator[Block]:
    names = Counter(block.name for block in found)
    taken: Counter[str] = Counter()
    for block in found:
        taken[block.name] += 1
        again = names[block.name] > 1 and taken[block.name] > 1
        yield replace(block, name=f"{block.name}#{taken[block.name]}") if again else block
