"""The captured model with slices removed: a graph module whose tensors and size arguments are smaller."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Container, Iterable, Mapping
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from laconic.core.errors import ModelError
from laconic.graph.axes import Axes, Axis
from laconic.graph.axes.call import Dims
from laconic.graph.axes.expression import LARGEST_REAL, Atom, Expr, atoms_in, fitted, kept_mask, kept_size
from laconic.graph.operators import ATTENTION, arguments, name_of

Masks = Mapping[Atom, Tensor]
Change = Callable[[Tensor, Dims], Tensor]
LAST_INDICES = frozenset({("histc", "max")})
"""Arguments that are the last index of a dimension, not its size."""
RESULT_SHAPES = ("size", "shape")
"""Arguments that list the whole shape of the result."""


def cut(axes: Axes, keep: Mapping[Axis, Tensor]) -> GraphModule:
    """Returns the model without the slices that are not kept, as a trainable graph module.

    Args:
        axes: the analysis of a captured model.
        keep: the kept indices of each axis that is cut, int64.

    Raises:
        UsageError: an index is out of range, comes twice, or none is kept.
        ModelError: a size that varies with the batch would have to be written as a constant.

    Guarantees:
        The captured model and its tensors stay as they are, and share no memory with the result.
        The result equals the model whose cut slices are zero, wherever nothing is computed over a cut axis.
    """
    masks = axes.masks(keep)
    module = copy_of(axes)
    replace_tensors(axes, module, lambda tensor, dims: shrink(tensor, dims, masks).clone())
    resize(axes, module, masks, axes.graph.nodes)
    return module


def copy_of(axes: Axes) -> GraphModule:
    """Returns the captured model as a graph module of its own."""
    return axes.graph.module()


def shrink(tensor: Tensor, dims: Dims, masks: Masks) -> Tensor:
    """Returns what stays of a tensor."""
    for d, expr in enumerate(dims):
        if touches(expr, masks):
            mask = kept_mask(fitted(expr, tensor.shape[d], {}), masks)
            tensor = tensor.index_select(d, mask.nonzero().flatten().to(tensor.device))
    return tensor


def touches(exprs: Expr | Dims, cut_atoms: Container[Atom]) -> bool:
    """Whether anything in these dimensions is cut."""
    listed = exprs if isinstance(exprs, tuple) else (exprs,)
    return any(atom in cut_atoms for expr in listed for atom in atoms_in(expr))


def replace_tensors(axes: Axes, module: GraphModule, change: Change) -> None:
    """Replaces every parameter, buffer and constant by `change(tensor, dims)`; ties stay ties."""
    signature = axes.graph.program.graph_signature
    targets = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    changed: dict[str, Tensor] = {}
    for node in axes.graph.nodes:
        dims = axes.resolved.dims.get(node)
        if node.name not in targets or not isinstance(dims, tuple):
            continue
        path, _, attribute = targets[node.name].rpartition(".")
        owner = module.get_submodule(path)
        canonical = axes.graph.sources.get(node.name, node.name)
        if canonical not in changed:
            changed[canonical] = _like(getattr(owner, attribute), change, dims)
        setattr(owner, attribute, changed[canonical])


def resize(axes: Axes, module: GraphModule, masks: Masks, nodes: Iterable[Node]) -> None:
    """Rewrites the size arguments of some of the captured model's nodes in a copy of it."""
    followed: dict[Node, dict[str, Expr | Dims]] = {}
    for (node, argument), exprs in axes.resolved.sizes.items():
        followed.setdefault(node, {})[argument] = exprs
    wanted = {node.name: node for node in nodes if node.op == "call_function"}
    for copied in module.graph.nodes:
        original = wanted.get(copied.name)
        if original is not None:
            arguments_to_sizes = followed.get(original, {})
            if any(touches(exprs, masks) for exprs in arguments_to_sizes.values()):
                for argument, exprs in arguments_to_sizes.items():
                    _rewrite(copied, original, argument, exprs, masks)
            _keep_scale(axes, copied, original, masks)
    module.recompile()


def _rewrite(copied: Node, original: Node, argument: str, exprs: Expr | Dims, masks: Masks) -> None:
    sizes = {atom: int(mask.sum()) for atom, mask in masks.items()}
    given = arguments(copied)[_own_name(copied, argument)]
    if argument in ("chunks", "split_size") and isinstance(exprs, tuple):
        copied.target = torch.ops.aten.split_with_sizes.default
        copied.args = (copied.args[0], [kept_size(expr, sizes) for expr in exprs], arguments(original)["dim"])
        copied.kwargs = {}
        return
    if not isinstance(exprs, tuple):
        _set(copied, argument, kept_size(exprs, sizes) - ((name_of(copied), argument) in LAST_INDICES))
        return
    entries = [given] if isinstance(given, int) else list(given)
    varies = _varying_entries(original, argument, entries)
    new = [
        _entry(copied, entry, expr, sizes, varies=v, shape=argument in RESULT_SHAPES)
        for entry, expr, v in zip(entries, exprs, varies, strict=True)
    ]
    if new.count(-1) > 1 and name_of(copied) != "expand":
        raise ModelError(f"cut: {original.name} has two sizes that vary with the batch. Capture with a fixed batch.")
    _set(copied, argument, new)


def _entry(copied: Node, given: Any, expr: Expr, sizes: Mapping[Atom, int], *, varies: bool, shape: bool) -> Any:
    stale = touches(expr, sizes)
    if not stale and (varies or not shape):
        return given
    if not varies:
        return kept_size(expr, sizes)
    left = Fraction(kept_size(expr, sizes), expr.size)
    if isinstance(given, Node) and left.denominator <= LARGEST_REAL:
        return _scaled(copied, given, left)
    if shape:
        return -1
    raise ModelError("cut: a size that varies with the batch would shrink. Capture with a fixed batch.")


def _scaled(copied: Node, given: Node, left: Fraction) -> Node:
    """Returns what is left of a size that is only known in a call, such as the batch times the number of heads."""
    with copied.graph.inserting_before(copied):
        times = copied.graph.call_function(operator.mul, (given, left.numerator))
        return copied.graph.call_function(operator.floordiv, (times, left.denominator))


def _varying_entries(node: Node, argument: str, entries: list[Any]) -> list[bool]:
    """Returns which entries of a list of sizes depend on the batch."""
    shape = node.meta["val"].shape if argument in RESULT_SHAPES else entries
    return [isinstance(e, Node) or isinstance(s, torch.SymInt) for e, s in zip(entries, shape, strict=True)]


def _keep_scale(axes: Axes, copied: Node, original: Node, masks: Masks) -> None:
    """Attention divides by the root of the head width by default: the root of the old one has to stay."""
    if name_of(original) != ATTENTION or arguments(original)["scale"] is not None:
        return
    query: Any = arguments(original)["query"]
    dims = axes.resolved.dims[query]
    if isinstance(dims, tuple) and touches(dims[-1], masks):
        _set(copied, "scale", 1 / math.sqrt(dims[-1].size))


def _set(node: Node, argument: str, value: Any) -> None:
    target: Any = node.target
    argument = _own_name(node, argument)
    position = [a.name for a in target._schema.arguments].index(argument)
    if position < len(node.args):
        node.update_arg(position, value)
    else:
        node.update_kwarg(argument, value)


def _own_name(node: Node, argument: str) -> str:
    """Returns what an argument is called where a view has become a reshape."""
    return "shape" if argument == "size" and name_of(node) == "reshape" else argument


def _like(tensor: Tensor, change: Change, dims: Dims) -> Tensor:
    new = change(tensor.detach(), dims)
    return nn.Parameter(new, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else new
