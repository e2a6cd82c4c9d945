"""A plan for a model whose own code does not run at the new sizes: the cuts, and its computation as data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import NamedTuple

from torch import Tensor, nn
from torch.fx import GraphModule

from laconic.core.apply import apply
from laconic.core.edit import Rewrite
from laconic.core.plan import Plan
from laconic.core.program import Program, device_of
from laconic.graph.axes import Axes, Axis
from laconic.graph.cutting import cut
from laconic.graph.folding import fold, lost_in_training
from laconic.prune.attributes import known_attributes
from laconic.prune.cuts import cuts

SHOWN = 4
"""Paths that a note lists."""


class Rewriting(NamedTuple):
    """A plan that ends in a `Rewrite`, and what the user should know about it."""

    plan: Plan
    notes: tuple[str, ...]


def rewritings(model: nn.Module, axes: Axes, keep: Mapping[Axis, Tensor]) -> Iterator[Rewriting]:
    """Yields ways to a graph: one that calls PyTorch's own layers, and one of operators alone.

    Args:
        model: the original.
        axes: its analysis.
        keep: the kept indices of each axis that is cut, int64.

    Raises:
        ModelError: the graph calls something that cannot be written down.
    """
    return rewritings_of(model, cuts(model, axes, keep, (known_attributes,)), lambda: cut(axes, keep))


def rewritings_of(model: nn.Module, plan: Plan, smaller: Callable[[], GraphModule]) -> Iterator[Rewriting]:
    """Yields ways from a plan, which gives the model's tensors their shapes, to a graph that computes with them.

    Args:
        model: the original.
        plan: what comes before the graph.
        smaller: makes a copy of the graph.

    Raises:
        ModelError: the graph calls something that cannot be written down.
    """
    own = apply(model, plan)
    for folded in (True, False):
        module = smaller()
        constants = _constants(module, own)
        lost = lost_in_training(fold(module, own), own) if folded else ("all modules",)
        program = Program.of(module.graph, constants, device_of(model))
        yield Rewriting(plan + Plan.of([Rewrite(program)]), tuple(_notes(lost)))


def _notes(lost: Sequence[str]) -> Iterator[str]:
    if lost:
        shown = ", ".join(path or "the model itself" for path in lost[:SHOWN])
        more = f" and {len(lost) - SHOWN} more" if len(lost) > SHOWN else ""
        yield f"in training these compute as in eval mode, without their dropout or batch statistics: {shown}{more}."


def _constants(module: GraphModule, own: nn.Module) -> dict[str, Tensor]:
    """Returns the tensors that the graph has beside the model's, under new names that are free in the model."""
    known = {name for name, _ in own.named_parameters(remove_duplicate=False)}
    known |= {name for name, _ in own.named_buffers(remove_duplicate=False)}
    found: dict[str, Tensor] = {}
    for node in module.graph.find_nodes(op="get_attr"):
        if node.target not in known:
            value = attrgetter(str(node.target))(module)
            number = len(found)
            while hasattr(own, f"constant_{number}") or f"constant_{number}" in found:
                number += 1
            node.target = f"constant_{number}"
            found[node.target] = value.detach()
    return found
