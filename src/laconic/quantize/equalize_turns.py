"""From one turned value to everything that has to be turned with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import torch
from torch import Tensor
from torch.fx import Node

from laconic.graph.axes import Axes
from laconic.graph.axes.analysis import described
from laconic.graph.axes.expression import Atom, atoms_in
from laconic.graph.operators import PASSING, RESHAPING, arguments, name_of
from laconic.quantize.equalize_operators import SIZES, WEIGHTED, is_real
from laconic.quantize.equalize_walk import BlockedError

NORMS = frozenset({"layer_norm", "rms_norm"})
LINEAR = (
    (PASSING - {"alpha_dropout"}) | RESHAPING | {"slice", "select", "_to_copy", "squeeze_copy", "repeat", "mean", "sum"}
)
"""`f(x Q) = f(x) Q`, in the first argument, as long as the result still counts the channels of `Q`."""
Role = Literal["turned", "gain", "shift"]


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What becomes of a parameter or buffer.

    Args:
        tensor: canonical name.
        dim: which dimension is multiplied by `Q`.
        gain: the gain that goes into it before: name of a normalisation's weight.
        role: `turned`; or the `gain` of a normalisation, which becomes one; or its `shift`, divided by the gain, then
            turned.
    """

    tensor: str
    dim: int = 0
    gain: str | None = None
    role: Role = "turned"


@dataclass(frozen=True, kw_only=True, eq=False)
class Stream:
    """Values that can be turned by one orthogonal matrix.

    Args:
        name: the axis that counts their channels.
        size: channels.
        turns: what changes so that the model's answer does not, in the order of execution.
        keep_mean: whether a normalisation takes a mean out.
    """

    name: str
    size: int
    turns: tuple[Turn, ...]
    keep_mean: bool

    def __str__(self) -> str:
        return f"{self.name}: {self.size} channels, {len({turn.tensor for turn in self.turns})} tensors"


@dataclass
class StreamWalk:
    """Follows turned values both ways until every writer and every reader of them is known.

    Args:
        known: the analysis.
        atom: the channels.
        values: turned node -> the gain that its readers have to take up, None in the stream itself.
    """

    known: Axes
    atom: Atom
    values: dict[Node, str | None] = field(default_factory=dict)
    queue: list[Node] = field(default_factory=list)
    asked: dict[str, dict[Node, set[Turn]]] = field(default_factory=dict)
    keep_mean: bool = False

    def stream(self, seed: Node, name: str) -> Stream:
        """Returns everything that goes with one turned result.

        Raises:
            BlockedError: some writer or reader cannot follow.
        """
        self._need(seed, None, seed)
        while self.queue:
            node = self.queue.pop()
            self._written(node)
            for reader in node.users:
                self._read(reader, node)
        for tensor, by_node in self.asked.items():
            self._used_alike(tensor, by_node)
        turns = dict.fromkeys(t for found in self.asked.values() for node in found for t in found[node])
        if not any(turn.role == "turned" for turn in turns):
            raise BlockedError("no weight taking part")
        return Stream(name=name, size=self.atom.size, turns=tuple(turns), keep_mean=self.keep_mean)

    def _need(self, node: Node, gain: str | None, because: Node) -> None:
        tensor = self.known.graph.sources.get(node.name)
        if tensor is not None:
            if gain is not None:
                raise BlockedError(described(because))
            self._ask(because, Turn(tensor=tensor, dim=self._dim(node, because)))
        elif node not in self.values:
            if node.op != "call_function" or not is_real(node):
                raise BlockedError(described(because))
            self._dim(node, because)
            self.values[node] = gain
            self.queue.append(node)
        elif self.values[node] != gain:
            raise BlockedError(described(node))

    def _dims(self, node: Any) -> tuple[Any, ...]:
        dims = self.known.resolved.dims.get(node) if isinstance(node, Node) else None
        return dims if isinstance(dims, tuple) else ()

    def _dim(self, node: Node, because: Node) -> int:
        """Returns the dimension that is the axis, the whole axis and nothing else."""
        dims = self._dims(node)
        along = [d for d, expr in enumerate(dims) if expr is self.atom]
        if len(along) != 1 or sum(atom is self.atom for expr in dims for atom in atoms_in(expr)) != 1:
            raise BlockedError(described(because))
        return along[0]

    def _counts(self, node: Any) -> bool:
        return any(atom is self.atom for expr in self._dims(node) for atom in atoms_in(expr))

    def _ask(self, node: Node, turn: Turn) -> None:
        self.asked.setdefault(turn.tensor, {}).setdefault(node, set()).add(turn)

    def _name(self, node: Any, because: Node) -> str:
        name = self.known.graph.sources.get(node.name) if isinstance(node, Node) else None
        if name is None:
            raise BlockedError(f"{described(because)}, whose weight is computed")
        return name

    def _written(self, node: Node) -> None:
        """Asks for what writes a turned value to be turned."""
        name, gain, given = name_of(node), self.values[node], arguments(node)
        if (name in WEIGHTED or name == "embedding") and gain is None:
            self._from_weight(node, given)
        elif name in NORMS:
            self._need(given["input"], None, node)
        elif name in ("mul", "div"):
            self._need(self._factor(node), gain if self._own_gain(node) is None else None, node)
        else:
            for operand in self._summands(node, given):
                self._need(operand, gain, node)

    def _summands(self, node: Node, given: Mapping[str, Any]) -> Sequence[Node]:
        """Returns the values of which a result is a sum, a collection or a part."""
        name = name_of(node)
        if name in LINEAR:
            return node.all_input_nodes[:1]
        operands = node.args[:2] if name in ("add", "sub") else given["tensors"] if name == "cat" else ()
        if not operands or not all(isinstance(operand, Node) and self._counts(operand) for operand in operands):
            raise BlockedError(described(node))
        return cast(Sequence[Node], operands)

    def _from_weight(self, node: Node, given: Mapping[str, Any]) -> None:
        if name_of(node) == "embedding":
            weight, dim, bias, last = given["weight"], 1, None, -1
        else:
            _, key, _, dim, other = WEIGHTED[name_of(node)]
            weight, bias = given[key], given[other]
            last = -(len(self._dims(weight)) - 1)
        on_channels = self._dims(node)[last] is self.atom
        if not on_channels or given.get("groups", 1) != 1 or given.get("alpha", 1) != 1 or given.get("beta", 1) != 1:
            raise BlockedError(described(node))
        self._ask(node, Turn(tensor=self._name(weight, node), dim=dim))
        if bias is not None:
            self._ask(node, Turn(tensor=self._name(bias, node), dim=self._dim(bias, node)))

    def _read(self, reader: Node, value: Node) -> None:
        """Follows a turned value to one of its readers."""
        name, gain = name_of(reader), self.values[value]
        given = arguments(reader) if reader.op == "call_function" else {}
        if name in SIZES or (gain is None and self._is_squared_length(reader)):
            return
        if name in WEIGHTED and given[WEIGHTED[name][0]] is value:
            self._into_weight(reader, value, given)
        elif name in NORMS and given["input"] is value and gain is None:
            self._into_norm(reader, value, given)
        elif name in ("mul", "div") and (factor := self._own_gain(reader)) is not None and gain is None:
            self._ask(reader, Turn(tensor=factor, role="gain"))
            self._need(reader, factor, reader)
        elif name in ("add", "sub", "cat", "mul", "div") or name in LINEAR:
            self._need(reader, gain, reader)
        else:
            raise BlockedError(described(reader))

    def _into_weight(self, node: Node, value: Node, given: Mapping[str, Any]) -> None:
        _, key, dim, _, _ = WEIGHTED[name_of(node)]
        if name_of(node) not in ("linear", "addmm") or self._dim(value, node) != len(self._dims(value)) - 1:
            raise BlockedError(described(node))
        self._ask(node, Turn(tensor=self._name(given[key], node), dim=dim, gain=self.values[value]))

    def _into_norm(self, node: Node, value: Node, given: Mapping[str, Any]) -> None:
        if len(given["normalized_shape"]) != 1 or self._dim(value, node) != len(self._dims(value)) - 1:
            raise BlockedError(described(node))
        weight, bias = given.get("weight"), given.get("bias")
        gain = None if weight is None else self._name(weight, node)
        if gain is not None:
            self._ask(node, Turn(tensor=gain, role="gain"))
        if bias is not None:
            shift = self._name(bias, node)
            if gain is None or not _divisible(self.known.graph.tensors[shift], self.known.graph.tensors[gain]):
                raise BlockedError(f"{described(node)}, whose shift has no gain to speak of")
            self._ask(node, Turn(tensor=shift, gain=gain, role="shift"))
        self.keep_mean = self.keep_mean or name_of(node) == "layer_norm"
        self._need(node, gain, node)

    def _factor(self, node: Node) -> Node:
        """Returns what a product by numbers that are alike for all channels multiplies."""
        along = [operand for operand in node.all_input_nodes if self._counts(operand)]
        if self._own_gain(node) is not None:
            along = [operand for operand in along if operand.name not in self.known.graph.sources]
        if (
            len(along) != 1
            or node.args.count(along[0]) != 1
            or (name_of(node) == "div" and node.args[0] is not along[0])
        ):
            raise BlockedError(described(node))
        return along[0]

    def _own_gain(self, node: Node) -> str | None:
        """Returns the parameter that a product multiplies each channel by."""
        if name_of(node) != "mul":
            return None
        names = [self.known.graph.sources.get(n.name) for n in node.all_input_nodes if len(self._dims(n)) == 1]
        held = [name for name in names if name is not None]
        return held[0] if len(held) == 1 and self._counts(node) else None

    def _is_squared_length(self, node: Node) -> bool:
        """Whether a value is squared and nothing but the mean of that over the channels is read."""
        squared = name_of(node) == "pow" and node.args[1] == 2
        squared = squared or (name_of(node) == "mul" and node.args[0] is node.args[1])
        return bool(squared) and all(
            name_of(user) in ("mean", "sum") and self._over_channels(user, node) for user in node.users
        )

    def _over_channels(self, mean: Node, squared: Node) -> bool:
        dims = arguments(mean).get("dim")
        size = len(self._dims(squared))
        return isinstance(dims, list) and [d % size for d in dims] == [self._dim(squared, mean)]

    def _used_alike(self, tensor: str, by_node: Mapping[Node, set[Turn]]) -> None:
        """Checks that every operator that reads a tensor asks the same of it."""
        graph = self.known.graph
        readers = [user for node in graph.nodes if graph.sources.get(node.name) == tensor for user in node.users]
        asked = [by_node.get(reader, set()) for reader in readers if name_of(reader) not in SIZES]
        if any(one != asked[0] for one in asked):
            raise BlockedError(f"{tensor} being shared")


def _divisible(shift: Tensor, gain: Tensor) -> bool:
    """Whether a shift in units of its gain is of a size that leaves the normalised values their digits beside it."""
    digits = max(torch.finfo(gain.dtype).eps, torch.finfo(torch.float32).eps)
    return bool((shift.abs().double() <= gain.abs().double() * digits**-0.5).all())
