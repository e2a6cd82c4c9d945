"""The proof of a cut: the original with zeros in the cut slices gives what the cut model gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Interpreter, Node
from torch.utils import _pytree as pytree

from laconic.graph.axes import Axes, Axis
from laconic.graph.axes.call import Dims
from laconic.graph.axes.expression import fitted, kept_mask
from laconic.graph.cutting import Masks, copy_of, replace_tensors, resize, shrink, touches
from laconic.graph.operators import name_of

ENDLESS = 1e30
"""From here on a value stands for infinity, as the most negative number of float32 in masks does."""


def cut_error(
    axes: Axes, keep: Mapping[Axis, Tensor], cut_model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> float:
    """Returns how far the cut model is from the original with zeros in the cut slices.

    Where a mean, a softmax or a product of activations runs over a cut axis, the original computes it over the kept
    indices only; everything else of it runs as captured, so that a wrong coupling shows.

    Args:
        axes: the analysis of the original.
        keep: the kept indices of each axis that is cut.
        cut_model: what is tested, on the same device.
        args: positional inputs.
        kwargs: named inputs.

    Returns:
        The largest difference of any output, relative to the largest magnitude of the original's outputs.
    """
    with torch.no_grad():
        expected = zeroed_outputs(axes, keep, args, kwargs)
        got = [t for t in pytree.tree_leaves(cut_model(*args, **kwargs)) if isinstance(t, Tensor)]
    return largest_difference(got, expected)


def largest_difference(got: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Returns the largest difference, relative to the largest magnitude expected; inf where shapes differ.

    Answers that stand for infinity, as where an attention or a class is masked, have to be the same, and are no measure
    of the others.

    Example:
        >>> largest_difference([torch.tensor([1.5, -torch.inf])], [torch.tensor([2.0, -torch.inf])])
        0.25
    """
    if [t.shape for t in got] != [t.shape for t in expected]:
        return float("inf")
    pairs = [(a.double(), b.double()) for a, b in zip(got, expected, strict=True) if b.numel()]
    scale = max((float(torch.where(b.abs() < ENDLESS, b, 0).abs().max()) for _, b in pairs), default=0.0)
    error = max((float((a - b).abs().masked_fill(a == b, 0).max()) for a, b in pairs), default=0.0)
    return error / scale if scale > 0 else error


def zeroed_outputs(
    axes: Axes, keep: Mapping[Axis, Tensor], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> list[Tensor]:
    """Returns all output tensors of the original with zeros in the cut slices."""
    masks = axes.masks(keep)
    module = copy_of(axes)
    replace_tensors(axes, module, lambda tensor, dims: _filled(tensor, dims, masks, 0))
    over_cut = {node.name: node for node, expr in axes.resolved.statistics if touches(expr, masks)}
    resize(axes, module, masks, over_cut.values())
    flat = pytree.tree_leaves((tuple(args), dict(kwargs)))
    outputs = _KeptOnly(axes, module, masks, over_cut).run(*flat, enable_io_processing=False)
    return [t for t in pytree.tree_leaves(outputs) if isinstance(t, Tensor)]


class _KeptOnly(Interpreter):
    """Runs named nodes on what is kept of their inputs, with zeros elsewhere in their results."""

    def __init__(self, axes: Axes, module: GraphModule, masks: Masks, over_cut: Mapping[str, Node]) -> None:
        super().__init__(module)
        self._axes = axes
        self._masks = masks
        self._over_cut = over_cut

    def run_node(self, n: Node) -> Any:
        """Runs one node."""
        original = self._over_cut.get(n.name)
        if original is None:
            return super().run_node(n)
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        if name_of(original) == "topk":  # What is cut is as if it were never there to choose.
            chosen_from = self._axes.resolved.dims[original.all_input_nodes[0]]
            open_to_choice = _filled(args[0], cast(Dims, chosen_from), self._masks, -torch.inf)
            return self.call_function(n.target, (open_to_choice, *args[1:]), kwargs)
        known = {id(self.env[source]): dims for source, dims in self._inputs(n, original)}
        smaller = pytree.tree_map_only(
            Tensor, lambda t: shrink(t, known[id(t)], self._masks) if id(t) in known else t, (args, kwargs)
        )
        result = self.call_function(n.target, *smaller)
        dims = self._axes.resolved.dims[original]
        if isinstance(dims, tuple):
            return _grown(result, dims, self._masks)
        return tuple(_grown(part, own, self._masks) for part, own in zip(result, dims, strict=True))

    def _inputs(self, copied: Node, original: Node) -> list[tuple[Node, Dims]]:
        pairs = zip(copied.all_input_nodes, original.all_input_nodes, strict=True)
        dims = [(source, self._axes.resolved.dims.get(captured)) for source, captured in pairs]
        return [(source, own) for source, own in dims if isinstance(own, tuple)]


def _filled(tensor: Tensor, dims: Dims, masks: Masks, value: float) -> Tensor:
    for d, expr in enumerate(dims):
        if touches(expr, masks):
            gone = (~kept_mask(expr, masks)).nonzero().flatten()
            tensor = tensor.index_fill(d, gone.to(tensor.device), value)
    return tensor


def _grown(tensor: Tensor, dims: Dims, masks: Masks) -> Tensor:
    """Undoes `shrink`, with zeros where something was cut."""
    for d, expr in enumerate(dims):
        if touches(expr, masks):
            sizes = {atom: int(mask.sum()) for atom, mask in masks.items()}
            mask = kept_mask(fitted(expr, tensor.shape[d], sizes), masks)
            shape = (*tensor.shape[:d], len(mask), *tensor.shape[d + 1 :])
            tensor = tensor.new_zeros(shape).index_copy(d, mask.nonzero().flatten().to(tensor.device), tensor)
    return tensor
