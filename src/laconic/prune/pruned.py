"""A pruned model with all that should be known about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from laconic.core.plan import Plan
from laconic.graph import Costs
from laconic.graph.axes import Axes


@dataclass(frozen=True, kw_only=True, eq=False)
class Pruned:
    """A smaller model, proven to compute what the original computes without the slices that are gone.

    Args:
        model: the smaller model; the original is as it was.
        plan: what leads from the original to it.
        kind: `module` - the user's own module, smaller; or `graph` - a `torch.fx.GraphModule`, because the user's own
            code does not run at the new sizes. A graph computes as in eval mode, and can be trained.
        why: for a graph, what stood in the way; otherwise empty.
        error: largest difference, relative to the largest output, between the model right after the cut and the
            original with zeros in the cut slices.
        axes: what could be cut and what could not.
        keep: name of each axis that was cut -> kept indices.
        before: costs of the original.
        after: costs of the smaller model.
        notes: what the user should know: a ratio that was not reached, axes that nothing could price.
    """

    model: nn.Module
    plan: Plan
    kind: Literal["module", "graph"]
    why: str
    error: float
    axes: Axes
    keep: Mapping[str, Tensor]
    before: Costs
    after: Costs
    notes: tuple[str, ...] = ()

    @property
    def macs_ratio(self) -> float:
        """Multiply-accumulates left, as a fraction."""
        return self.after.macs / self.before.macs if self.before.macs else 1.0

    @property
    def parameters_ratio(self) -> float:
        """Parameters left, as a fraction."""
        return self.after.parameter_count / self.before.parameter_count if self.before.parameter_count else 1.0

    def __str__(self) -> str:
        sizes = {axis.name: axis.size for axis in self.axes}
        form = "the model's own class" if self.kind == "module" else f"a graph module ({self.why})"
        lines = [
            f"Pruned: {self.macs_ratio:.1%} of the MACs, {self.parameters_ratio:.1%} of the parameters, {form}",
            *(f"  {name}: {sizes[name]} -> {len(kept)}" for name, kept in self.keep.items()),
        ]
        return "\n".join([*lines, *self.notes])
