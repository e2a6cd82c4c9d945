"""The sizes that a user's modules keep in attributes, and what these become when axes are cut."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import nn
from torch.fx import Node
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from laconic.graph.axes import Axes
from laconic.graph.axes.call import Dims
from laconic.graph.axes.expression import LARGEST_REAL, Atom, Expr, Prod, Sum, atoms_in, kept_size, product
from laconic.graph.operators import arguments, module_of

Value = int | tuple[int, ...]
Attribute = tuple[str, str, Value]
Sizes = Mapping[Atom, int]
KNOWN: tuple[tuple[type[nn.Module], Mapping[str, tuple[str, int]]], ...] = (
    (nn.Linear, {"out_features": ("weight", 0), "in_features": ("weight", 1)}),
    (nn.Bilinear, {"out_features": ("weight", 0), "in1_features": ("weight", 1), "in2_features": ("weight", 2)}),
    (_NormBase, {"num_features": ("running_mean", 0)}),
    (_NormBase, {"num_features": ("weight", 0)}),
    (nn.GroupNorm, {"num_channels": ("weight", 0)}),
    (nn.Embedding, {"num_embeddings": ("weight", 0), "embedding_dim": ("weight", 1)}),
    (nn.EmbeddingBag, {"num_embeddings": ("weight", 0), "embedding_dim": ("weight", 1)}),
    (nn.PReLU, {"num_parameters": ("weight", 0)}),
    (nn.RNNBase, {"input_size": ("weight_ih_l0", 1), "hidden_size": ("weight_hh_l0", 1)}),
    (nn.LSTM, {"proj_size": ("weight_hr_l0", 0), "hidden_size": ("weight_hr_l0", 1)}),
    (nn.RNNCellBase, {"input_size": ("weight_ih", 1), "hidden_size": ("weight_hh", 1)}),
)
"""What PyTorch's own modules call the dimensions of their tensors; a later entry wins."""
SIZE_WORDS = ("dim", "size", "width", "channels", "features", "hidden", "inner", "head", "planes")
HEADS = ("h", "nh", "n_h", "num_h", "kv", "n_kv", "num_kv")
"""What attention modules call their number of heads where they do not spell it out."""
INPUT_NAMES, OUTPUT_NAMES = ("in_", "input"), ("out_", "output")


@dataclass(frozen=True)
class Dimension:
    """A dimension that a module may keep the size of: `side` is `input`, `output` or `own`."""

    expr: Expr
    side: str


def known_attributes(model: nn.Module, axes: Axes, sizes: Sizes) -> dict[tuple[str, str], Value]:
    """Returns `(module, attribute) -> value` for the sizes that PyTorch's own modules keep.

    Args:
        model: the original.
        axes: its analysis.
        sizes: what each cut axis' atom has left.
    """
    convolutions = _convolutions(axes)
    normalised = {path for path, module in model.named_modules() if isinstance(module, nn.GroupNorm)}
    found: dict[tuple[str, str], Value] = {}
    for path, module in model.named_modules():
        for attribute, dims in (*_declared(path, module, axes), *_of_convolution(path, module, convolutions)):
            if isinstance(dims, tuple):
                found[path, attribute] = tuple(kept_size(expr, sizes) for expr in dims)
            else:
                found[path, attribute] = kept_size(dims, sizes)
    for (node, argument), groups in axes.resolved.sizes.items():
        if argument == "num_groups" and not isinstance(groups, tuple) and module_of(node) in normalised:
            found[module_of(node), argument] = kept_size(groups, sizes)
    return found


def matching_attributes(model: nn.Module, axes: Axes, sizes: Sizes) -> dict[tuple[str, str], Value]:
    """Returns `(module, attribute) -> value` for integers that equal the size of a dimension the module deals with.

    These are the dimensions of what the module's own operators read, return and have as arguments. Where several have
    the same size, but not after the cut, the attribute's name tells heads from their width and inputs from outputs.
    """
    own = dealt_with(axes)
    roles = {axis.atom: axis.kind for axis in axes}
    found: dict[tuple[str, str], Value] = {}
    for path, module in model.named_modules():
        for name, value, entries in _integers(module):
            kept = tuple(_kept(name, entry, own.get(path, ()), roles, sizes) for entry in entries)
            found[path, name] = kept if isinstance(value, tuple) else kept[0]
    return found


def named_attributes(model: nn.Module, axes: Axes, sizes: Sizes) -> dict[tuple[str, str], Value]:
    """Returns what `matching_attributes` does, for attributes whose names say that they are sizes or numbers of heads.

    Other numbers, such as those of buckets or groups, are as large as some dimension by chance.
    """
    found = matching_attributes(model, axes, sizes)
    return {
        place: value
        for place, value in found.items()
        if any(word in place[1] for word in SIZE_WORDS) or place[1] in HEADS
    }


def integers_of(module: nn.Module) -> Iterator[int]:
    """Yields every integer above one that a user's module keeps in its attributes."""
    for _, _, entries in _integers(module):
        yield from entries


def _integers(module: nn.Module) -> Iterator[tuple[str, Value, tuple[int, ...]]]:
    if type(module).__module__.startswith("torch.nn."):
        return
    for name, value in vars(module).items():
        entries = value if isinstance(value, tuple) else (value,)
        if entries and all(type(entry) is int and entry > 1 for entry in entries):
            yield name, value, entries


def _declared(path: str, module: nn.Module, axes: Axes) -> Iterator[tuple[str, Expr | Dims]]:
    for kind, names in KNOWN:
        if isinstance(module, kind):
            for attribute, (tensor, dim) in names.items():
                dims = _dims_of(axes, path, tensor)
                if dims:
                    yield attribute, dims[dim]
    if isinstance(module, nn.LayerNorm | nn.RMSNorm) and (shape := _dims_of(axes, path, "weight")):
        yield "normalized_shape", shape


def _dims_of(axes: Axes, path: str, tensor: str) -> Dims:
    name = f"{path}.{tensor}".removeprefix(".")
    canonical = next((first for first, names in axes.graph.aliases.items() if name in names), name)
    return axes.resolved.tensors.get(canonical, ())


def _convolutions(axes: Axes) -> dict[str, tuple[Expr, Dims]]:
    """Returns module path -> group count and dimensions of the weight of its convolution."""
    found: dict[str, tuple[Expr, Dims]] = {}
    for (node, argument), groups in axes.resolved.sizes.items():
        given = arguments(node)
        if argument == "groups" and isinstance(weight := given.get("weight"), Node) and not isinstance(groups, tuple):
            dims = axes.resolved.dims[weight]
            if isinstance(dims, tuple):
                found[module_of(node)] = groups, dims
    return found


def _of_convolution(
    path: str, module: nn.Module, convolutions: Mapping[str, tuple[Expr, Dims]]
) -> Iterator[tuple[str, Expr]]:
    if isinstance(module, _ConvNd) and path in convolutions:
        groups, weight = convolutions[path]
        whole, per_group = ("in_channels", "out_channels")[:: 1 if isinstance(module, _ConvTransposeNd) else -1]
        yield whole, weight[0]
        yield per_group, product(groups, weight[1])
        yield "groups", groups


def dealt_with(axes: Axes) -> dict[str, list[Dimension]]:
    """Returns module path -> the dimensions of what its own operators read, return and have as arguments."""
    found: dict[str, list[Dimension]] = {}
    for node, result in axes.resolved.dims.items():
        dims = found.setdefault(module_of(node), [])
        dims += _parts(result if isinstance(result, tuple) else sum(result, ()), "output")
        for source in node.all_input_nodes:
            read = axes.resolved.dims.get(source, ())
            side = "own" if source.op == "placeholder" and source.name in axes.graph.sources else "input"
            dims += _parts(read if isinstance(read, tuple) else sum(read, ()), side)
    for (node, _), exprs in axes.resolved.sizes.items():
        found.setdefault(module_of(node), []).extend(_parts(exprs if isinstance(exprs, tuple) else (exprs,), "own"))
    for name, shape in axes.resolved.tensors.items():
        found.setdefault(name.rpartition(".")[0], []).extend(_parts(shape, "own"))
    return found


def _parts(dims: Dims, side: str) -> list[Dimension]:
    """Returns dimensions with the factors and parts that they are made of."""
    found: list[Dimension] = []
    for expr in dims:
        if expr.size <= LARGEST_REAL:
            found.append(Dimension(expr, side))
        match expr:
            case Prod():
                found += _parts(expr.factors, side)
            case Sum():
                found += _parts(expr.parts, side)
    return found


def _kept(name: str, value: int, dims: list[Dimension] | tuple[()], roles: Mapping[Atom, str], sizes: Sizes) -> int:
    fitting = [dim for dim in dims if dim.expr.size == value]
    named = [dim for dim in fitting if _named_so(name, dim, roles)]
    widths = [dim for dim in fitting if _role(dim.expr, roles) == "head width"]
    for chosen in (fitting, named, widths):
        sizes_left = {kept_size(dim.expr, sizes) for dim in chosen}
        if len(sizes_left) == 1:
            return sizes_left.pop()
    return value


def _named_so(name: str, dim: Dimension, roles: Mapping[Atom, str]) -> bool:
    kind = _role(dim.expr, roles)
    if "head" in name or name in HEADS:
        return kind == ("head width" if "dim" in name or "size" in name or "width" in name else "heads")
    if name.startswith(INPUT_NAMES) or name.startswith(OUTPUT_NAMES):
        return dim.side == ("input" if name.startswith(INPUT_NAMES) else "output")
    return kind not in ("heads", "head width")


def _role(expr: Expr, roles: Mapping[Atom, str]) -> str:
    """Returns what kind of axes a dimension is made of, where they are of one kind."""
    kinds = {roles[atom] for atom in atoms_in(expr) if atom in roles}
    return kinds.pop() if len(kinds) == 1 else ""
