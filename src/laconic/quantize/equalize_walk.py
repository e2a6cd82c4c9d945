"""From one scaled value to everything that has to be scaled with it."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch.fx import Node

from laconic.core.errors import LaconicError
from laconic.graph.axes import Axes, Axis
from laconic.graph.axes.analysis import described
from laconic.graph.axes.expression import Expr, atoms_in
from laconic.graph.operators import ATTENTION, arguments, name_of
from laconic.quantize.equalize_operators import NORMS, SIZES, WEIGHTED, is_homogeneous, is_real

Role = Literal["weight", "bias", "gain", "shift", "mean", "variance"]


@dataclass(frozen=True, kw_only=True)
class Touch:
    """One dimension of a parameter or buffer that is multiplied by a power of the scales.

    Args:
        tensor: canonical name.
        dim: the dimension.
        expr: what the dimension is made of; the axis' atom is in it once.
        power: 1 where values are made, -1 where they are read.
        role: `weight` of a product, its `bias`, the `gain` and `shift` of a normalisation or the `mean` and `variance`
            that a batch normalisation takes out.
        eps: what is added to a variance before its root.
        node: name of the operator that reads the tensor.
    """

    tensor: str
    dim: int
    expr: Expr
    power: int
    role: Role
    eps: float = 0.0
    node: str = field(default="", compare=False)


@dataclass(frozen=True, kw_only=True, eq=False)
class Place:
    """Values that can be scaled, index by index of an axis.

    Args:
        axis: whose indices have a scale each.
        values: the nodes that are scaled, in the order of execution.
        touches: what changes so that the model's answer does not.
    """

    axis: Axis
    values: tuple[Node, ...]
    touches: tuple[Touch, ...]

    @property
    def readers(self) -> tuple[Touch, ...]:
        """The weights that read the scaled values."""
        return tuple(t for t in self.touches if t.role == "weight" and t.power < 0)

    def __str__(self) -> str:
        made = ", ".join(dict.fromkeys(t.tensor for t in self.touches if t.power > 0 and t.role in ("weight", "gain")))
        read = ", ".join(dict.fromkeys(t.tensor for t in self.touches if t.power < 0 or t.role == "variance"))
        return f"{self.axis.name}: {made or 'constants'} -> {read}"


class BlockedError(LaconicError):
    """Scales cannot pass an operator."""


@dataclass
class Walk:
    """Follows scaled values both ways until every maker and every reader of them is known."""

    known: Axes
    axis: Axis
    scaled: dict[Node, None] = field(default_factory=dict)
    queue: list[Node] = field(default_factory=list)

    def place(self, seed: Node) -> Place:
        """Returns everything that goes with one scaled result.

        Raises:
            BlockedError: some maker or reader cannot follow.
        """
        self._need(seed, seed)
        while self.queue:
            node = self.queue.pop()
            for maker in self._makers(node):
                self._need(maker, node)
            for reader in node.users:
                self._read(reader, node)
        values = tuple(node for node in self.known.graph.nodes if node in self.scaled)
        ends = dict.fromkeys(node for value in values for node in (value, *value.users))
        by_node = {node: self._touches(node) for node in ends}
        for tensor in {t.tensor for touches in by_node.values() for t in touches}:
            self._used_alike(tensor, by_node)
        touches = dict.fromkeys(t for found in by_node.values() for t in found)
        return Place(axis=self.axis, values=values, touches=tuple(touches))

    def _need(self, node: Node, because: Node) -> None:
        if node not in self.scaled:
            dims = self.known.resolved.dims.get(node)
            counts = list(map(self._count, dims)) if isinstance(dims, list) else [self._count(dims or ())]
            if node.op != "call_function" or max(counts) != 1 or not is_real(node):
                raise BlockedError(described(because))
            self.scaled[node] = None
            self.queue.append(node)

    def _count(self, dims: tuple[Expr, ...]) -> int:
        return sum(atom is self.axis.atom for expr in dims for atom in atoms_in(expr))

    def _counts(self, node: Node) -> bool:
        return self._count(self._dims(node)) > 0

    def _parameter(self, node: Any) -> str | None:
        return self.known.graph.sources.get(node.name) if isinstance(node, Node) else None

    def _makers(self, node: Node) -> Iterator[Node]:
        """Yields the values that have to be scaled for a result to be: none where its parameters do it."""
        name, values = name_of(node), [n for n in node.all_input_nodes if self._parameter(n) is None]
        if name in WEIGHTED:
            self._at_channels(node, node)
        elif name in ("add", "sub"):
            if not all(isinstance(operand, Node) for operand in node.args[:2]):
                raise BlockedError(described(node))
            yield from values
        elif name == "mul":
            yield from self._makers_of_product(node, values)
        elif name == "cat":
            yield from filter(self._counts, values)
        elif name == ATTENTION:
            yield arguments(node)["value"]
        elif is_homogeneous(node):
            yield node.all_input_nodes[0]
        elif name not in NORMS and name != "embedding":
            raise BlockedError(described(node))

    def _makers_of_product(self, node: Node, values: list[Node]) -> Iterator[Node]:
        absorbed = any(self._parameter(n) and self._counts(n) for n in node.all_input_nodes)
        if absorbed or self.scaled.keys() & set(values):
            return
        along = list(filter(self._counts, values))
        if len(along) != 1:
            raise BlockedError(described(node))
        yield along[0]

    def _read(self, reader: Node, value: Node) -> None:
        """Follows a scaled value to one of its readers."""
        name, given = name_of(reader), arguments(reader) if reader.op == "call_function" else {}
        if name in SIZES:
            return
        if name in WEIGHTED and given[WEIGHTED[name][0]] is value:
            self._at_channels(reader, value)
        elif name == "batch_norm" and not given["training"] and self._count(self._dims(value)[1:2]):
            return  # What it takes out, it takes out scaled.
        elif reader.target is operator.getitem and not self._counts(reader):
            return  # A part along other axes.
        elif name in ("add", "sub", "mul", "cat") or is_homogeneous(reader, value) or self._is_attended(reader, value):
            self._need(reader, reader)
        else:
            raise BlockedError(described(reader))

    def _is_attended(self, reader: Node, value: Node) -> bool:
        given = arguments(reader) if name_of(reader) == ATTENTION else {}
        return [given.get(name) is value for name in ("query", "key", "value")] == [False, False, True]

    def _dims(self, node: Node) -> tuple[Expr, ...]:
        dims = self.known.resolved.dims.get(node)
        return dims if isinstance(dims, tuple) else ()

    def _at_channels(self, node: Node, value: Node) -> None:
        """Checks that a product's input or result is scaled along its channels, and not along positions."""
        weight = arguments(node)[WEIGHTED[name_of(node)][1]]
        channels = self._dims(value)[-(len(self._dims(weight)) - 1)]
        if not self._count((channels,)):
            raise BlockedError(described(node))

    def _touches(self, node: Node) -> tuple[Touch, ...]:
        """Returns what one operator's parameters have to make up for."""
        name = name_of(node)
        given = arguments(node) if node.op == "call_function" and node.target is not operator.getitem else {}
        made = int(node in self.scaled)
        if name in WEIGHTED:
            found = self._of_product(given, WEIGHTED[name], made)
        elif name in NORMS:
            found = self._of_norm(given, made)
        elif name == "embedding" and made:
            found = [(given["weight"], 1, 1, "weight", 0.0)]
        elif name == "mul" and made:
            found = self._of_factor(node)
        elif name in ("add", "sub", "cat") and made:
            held = [n for n in node.all_input_nodes if self._parameter(n) and (name != "cat" or self._counts(n))]
            found = [(n, self._dim_of(n, node), 1, "bias", 0.0) for n in held]
        else:
            found = []
            if name == "div" and made and given["other"] in self.scaled:
                raise BlockedError(described(node))
        return tuple(self._netted(node, found))

    def _of_product(self, given: Mapping[str, Any], form: tuple[str, str, int, int, str], made: int) -> list[Any]:
        source, weight, in_dim, out_dim, bias = form
        if given.get("groups", 1) != 1 and not self._count(self._dims(given[weight])[in_dim : in_dim + 1]):
            in_dim = out_dim  # The scales go by groups.
        read = int(given[source] in self.scaled)
        found = [(given[weight], in_dim, -1, "weight", 0.0)] * read + [
            (given[weight], out_dim, 1, "weight", 0.0)
        ] * made
        return found + [(given[bias], 0, 1, "bias", 0.0)] * (made if given[bias] is not None else 0)

    def _of_norm(self, given: Mapping[str, Any], made: int) -> list[Any]:
        found: list[Any] = []
        if given["input"] in self.scaled:
            eps = float(given["eps"])
            found += [(given["running_mean"], 0, 1, "mean", 0.0), (given["running_var"], 0, 1, "variance", eps)]
        if made:
            found.append((given["weight"], self._dim_of(given["weight"]), 1, "gain", 0.0))
            if given.get("bias") is not None:
                found.append((given["bias"], self._dim_of(given["bias"]), 1, "shift", 0.0))
        return found

    def _of_factor(self, node: Node) -> list[Any]:
        scaled = sum(operand in self.scaled for operand in node.args)
        if scaled > 1:
            raise BlockedError(described(node))
        factors = [n for n in node.all_input_nodes if self._parameter(n) and self._counts(n)]
        return [] if scaled else [(n, self._dim_of(n, node), 1, "gain", 0.0) for n in factors[:1]]

    def _dim_of(self, node: Any, because: Node | None = None) -> int:
        """Returns the dimension that the axis is in."""
        dims = self._dims(node) if isinstance(node, Node) else ()
        along = [d for d, expr in enumerate(dims) if self._count((expr,))]
        if len(along) != 1:
            raise BlockedError(described(because) if because else "a normalisation without weights")
        return along[0]

    def _netted(self, node: Node, found: list[Any]) -> Iterator[Touch]:
        powers: Counter[tuple[str, int, Role, float]] = Counter()
        for tensor, dim, power, role, eps in found:
            name = self._parameter(tensor)
            if name is None or self._count(self.known.resolved.tensors[name][dim : dim + 1]) != 1:
                raise BlockedError(f"{described(node)}, whose {role} is computed")
            powers[name, dim, role, eps] += power
        for (name, dim, role, eps), power in powers.items():
            if power:
                expr = self.known.resolved.tensors[name][dim]
                yield Touch(tensor=name, dim=dim, expr=expr, power=power, role=role, eps=eps, node=node.name)

    def _used_alike(self, tensor: str, by_node: Mapping[Node, tuple[Touch, ...]]) -> None:
        """Checks that every operator that reads a tensor asks the same of it."""
        graph = self.known.graph
        readers = [reader for node in graph.nodes if graph.sources.get(node.name) == tensor for reader in node.users]
        asked = [{t for t in by_node.get(reader, ()) if t.tensor == tensor} for reader in readers]
        if any(one != asked[0] for one in asked):
            raise BlockedError(f"{tensor} being shared")
