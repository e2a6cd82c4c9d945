"""A pruned model with all that should be known about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from laconic.core.plan import Plan
from laconic.graph import Costs
from laconic.graph.axes import Axes
from laconic.prune.saved import save_pruned


@dataclass(frozen=True, kw_only=True, eq=False)
class Pruned:
    """A smaller model, proven to compute what the original computes without the slices that are gone.

    Args:
        model: the smaller model; the original is as it was.
        plan: what leads from the original to it.
        kind: `module` - the user's own module, smaller; or `graph` - a `torch.fx.GraphModule`, because the user's own
            code does not run at the new sizes. A graph has the model's modules and calls those that are PyTorch's own,
            so that it trains like the model; what it cannot train as the model did is in the notes.
        why: for a graph, what stood in the way; otherwise empty.
        error: largest difference, relative to the largest output, between the model right after the cut and the
            original with zeros in the cut slices.
        axes: what could be cut and what could not.
        keep: name of each axis that was cut -> kept indices.
        before: costs of the original.
        after: costs of the smaller model.
        notes: what the user should know: a ratio that was not reached, axes that nothing could price.
        removed: name of each block that is gone -> the measured price it added, in nats with a task.
        original: the analysis of the original where `axes` is that of a step on the way, such as after blocks are gone.
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
    removed: Mapping[str, float] = field(default_factory=dict)
    original: Axes | None = None

    @property
    def macs_ratio(self) -> float:
        """Multiply-accumulates left, as a fraction."""
        return self.after.macs / self.before.macs if self.before.macs else 1.0

    @property
    def parameters_ratio(self) -> float:
        """Parameters left, as a fraction."""
        return self.after.parameter_count / self.before.parameter_count if self.before.parameter_count else 1.0

    def save(self, folder: str | Path, *, model: nn.Module | None = None, plan: Plan | None = None) -> Path:
        """Writes the model so that `load_pruned(folder, original)` gives it back in any process, without pickle.

        Args:
            folder: its place; an older pruned model there is replaced, whole or not at all.
            model: the pruned model after more was done to it (training, quantisation); None: `self.model` as it is now.
            plan: all that leads from the original to that model, such as `pruned.plan + quantize(pruned.model, task)`;
                None: `self.plan`.

        Returns:
            The folder.

        Raises:
            ModelError: it is a graph that cannot be written down; the notes say why.
            ArtifactError: the disk is full, or the folder cannot be written or holds something else.
        """
        graph = (self.original or self.axes).graph
        return save_pruned(
            folder, graph.name, graph.tensors, model or self.model, plan or self.plan, kind=self.kind, notes=self.notes
        )

    def __str__(self) -> str:
        sizes = {axis.name: axis.size for axis in self.axes}
        form = "the model's own class" if self.kind == "module" else f"a graph module ({self.why})"
        lines = [
            f"Pruned: {self.macs_ratio:.1%} of the MACs, {self.parameters_ratio:.1%} of the parameters, {form}",
            *(f"  {name}: removed" for name in self.removed),
            *(f"  {name}: {sizes[name]} -> {len(kept)}" for name, kept in self.keep.items()),
        ]
        return "\n".join([*lines, *self.notes])
