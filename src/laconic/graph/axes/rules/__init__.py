"""What each operator does to dimensions, a family a file. An operator without a rule freezes what goes in."""

from __future__ import annotations

from torch.fx import Node

from laconic.graph.axes.call import Rule
from laconic.graph.axes.rules import (
    constants,
    convolution,
    elementwise,
    lookup,
    movement,
    normalisation,
    pieces,
    products,
    recurrent,
    reduction,
    routing,
    space,
)
from laconic.graph.operators import name_of

FAMILIES = (
    constants,
    convolution,
    elementwise,
    lookup,
    movement,
    normalisation,
    pieces,
    products,
    recurrent,
    reduction,
    routing,
    space,
)
RULES: dict[str, Rule] = {name: rule for family in FAMILIES for name, rule in family.RULES.items()}


def rule_for(node: Node) -> Rule | None:
    """Returns the rule for an operator call, or None."""
    return elementwise.elementwise if elementwise.is_elementwise(node) else RULES.get(name_of(node))
