"""Which blocks go: the lowest measured price for each unit saved, given those already gone."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from laconic.graph import Graph
from laconic.graph.blocks import Block, freed
from laconic.graph.costs import macs_by_node
from laconic.graph.shortening import replacements

BlockMeasure = Literal["macs", "parameters", "blocks"]
Price = Callable[[Sequence[Block]], float]
CLOSE = 0.005
"""What may be missing of the wanted saving."""


class BlockSavings:
    """What several blocks save together, one inside another counted once.

    Args:
        graph: the model.
        of: what counts.
    """

    def __init__(self, graph: Graph, of: BlockMeasure) -> None:
        self._graph, self._of = graph, of
        self._macs = macs_by_node(graph)
        parameters = sum(p.numel() for p in graph.parameters.values())
        self.total = float(sum(self._macs.values()) if of == "macs" else parameters)

    def amount(self, removed: Sequence[Block]) -> float:
        """Returns what is saved; for `blocks` their number."""
        if self._of == "macs":
            gone = frozenset().union(*(block.nodes for block in removed))
            return float(sum(self._macs.get(node, 0) for node in gone))
        if self._of == "parameters":
            return float(
                sum(self._graph.parameters[name].numel() for name in freed(self._graph, replacements(removed)))
            )
        return float(len(removed))


@dataclass
class Chosen:
    """Blocks in the order in which they go, each with the price that it added."""

    blocks: list[Block] = field(default_factory=list)
    prices: list[float] = field(default_factory=list)


def choose_blocks(found: Sequence[Block], price: Price, savings: BlockSavings, wanted: float) -> Chosen:
    """Takes one block after the other until enough is saved, as nearly as blocks allow.

    Prices change with every block that goes, mostly upwards: each is measured again when its turn comes.

    Args:
        found: what may go.
        price: how far the model without some blocks is from the original.
        savings: what counts.
        wanted: how much of it to save; a block that saves twice what is still wanted is left out.
    """
    chosen = Chosen()
    whole = 0.0
    # (price for each unit saved, place in `found`, how many had gone when it was measured)
    waiting = [(0.0, i, -1) for i in range(len(found))]
    while waiting and savings.amount(chosen.blocks) < (1 - CLOSE) * wanted:
        rate, i, measured = heapq.heappop(waiting)
        gain, left = _gain(found[i], chosen.blocks, savings), wanted - savings.amount(chosen.blocks)
        if gain <= 0 or gain >= 2 * left:
            continue
        if measured == len(chosen.blocks):
            chosen.blocks.append(found[i])
            chosen.prices.append(rate * gain)
            whole += rate * gain
        else:
            added = price([*chosen.blocks, found[i]]) - whole
            heapq.heappush(waiting, (added / gain, i, len(chosen.blocks)))
    return chosen


def _gain(block: Block, removed: Sequence[Block], savings: BlockSavings) -> float:
    """Returns what one more block saves; nothing where it is gone already, or where its place is taken."""
    if any(block.nodes <= other.nodes or block.end is other.end for other in removed):
        return 0.0
    return savings.amount([*removed, block]) - savings.amount(removed)
