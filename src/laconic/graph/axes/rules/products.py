"""Matrix products, einsum and attention: the contracted dimensions are one."""

from __future__ import annotations

from torch.fx import Node

from laconic.graph.axes.call import Call, Dims, Result, Rule
from laconic.graph.axes.expression import Expr, product
from laconic.graph.macs import spelled_out
from laconic.graph.operators import PASSING, name_of


def linear(call: Call) -> Result:
    """`[..., k] x [n, k] -> [..., n]`."""
    dims, weight = call.dims("input"), call.dims("weight")
    call.algebra.unify(dims[-1], weight[-1])
    _bias(call, "bias", weight[:-1])
    return (*dims[:-1], *weight[:-1])


def bilinear(call: Call) -> Result:
    """`[..., i] x [n, i, j] x [..., j] -> [..., n]`."""
    first, second, weight = call.dims("input1"), call.dims("input2"), call.dims("weight")
    call.algebra.unify(first[-1], weight[1])
    call.algebra.unify(second[-1], weight[2])
    _bias(call, "bias", weight[:1])
    return (*call.broadcast([first[:-1], second[:-1]], call.shape[:-1]), weight[0])


def matmul(call: Call) -> Result:
    """`[..., m, k] x [..., k, n] -> [..., m, n]`; vectors lose their dimension; what is added is broadcast in."""
    left, right = _operands(call)
    first, second = call.dims(left), call.dims(right)
    contracted = first[-1]
    call.algebra.unify(contracted, second[-2] if len(second) > 1 else second[0])
    rows, columns = first[-2:-1], second[-1:] if len(second) > 1 else ()
    batch = call.broadcast([first[:-2], second[:-2]], call.shape[: len(call.shape) - len(rows) - len(columns)])
    if left not in call.weights and right not in call.weights:
        call.statistic(contracted)
        call.role("head width", contracted, *columns)
        call.role("heads", *batch)
    result = (*batch, *rows, *columns)
    if call.name.startswith(("addm", "badd")):
        _bias(call, "self", result)
    return result


def grouped(call: Call) -> Result | None:
    """Rows `[s, k]` sorted by expert, experts `[g, k, n]` -> `[s, n]`: which rows an expert gets, the data decides.

    Offsets `[g]` say where the rows of each expert end. Where they count choices, an expert that is never chosen has
    none; any other offsets would give its rows to the next.
    """
    first, second, *ends = (call.dims(node) for node in call.tensors[:3])
    if (len(first), len(second)) != (2, 3):
        return None
    if ends and _counts_choices(call.tensors[2]):
        call.algebra.unify(second[0], ends[0][0])
        call.statistic(second[0])
    else:
        call.algebra.freeze(second[0])
    call.algebra.unify(first[1], second[1])
    return (first[0], second[2])


def outer(call: Call) -> Result:
    """`[m] x [n] -> [m, n]`."""
    return (*call.dims("self"), *call.dims("vec2"))


def kron(call: Call) -> Result | None:
    """`[a, b]` and `[c, d]` -> `[a x c, b x d]`."""
    first, second = call.dims("self"), call.dims("other")
    return tuple(map(product, first, second)) if len(first) == len(second) else None


def einsum(call: Call) -> Result | None:
    """One dimension a letter; letters that do not come out are contracted."""
    nodes = call.given["tensors"]
    terms, kept = spelled_out(call.given["equation"], [len(call.dims(node)) for node in nodes])
    if any(len(set(term)) < len(term) for term in terms):
        return None
    places: dict[str, list[Dims]] = {}
    for term, node in zip(terms, nodes, strict=True):
        for letter, dim in zip(term, call.dims(node), strict=True):
            places.setdefault(letter, []).append((dim,))
    letters = {k: call.broadcast(dims, [max(d[0].size for d in dims)])[0] for k, dims in places.items()}
    _einsum_of_activations(call, terms, nodes, kept, letters)
    return tuple(letters[k] for k in kept)


def attention(call: Call) -> Result:
    """Queries `[..., h, l, e]`, keys `[..., h, s, e]`, values `[..., h, s, v]` -> `[..., h, l, v]`."""
    query, key, value = (call.dims(name) for name in ("query", "key", "value"))
    call.algebra.unify(query[-1], key[-1])
    call.algebra.unify(key[-2], value[-2])
    call.statistic(key[-2], query[-1])
    if call.given["is_causal"]:
        call.algebra.freeze(query[-2], key[-2])
    grouped = call.given["enable_gqa"] and query[-3].size != key[-3].size
    heads = _grouped_heads(call, query, key, value) if grouped else query[:-2]
    batch = call.broadcast([heads, *([] if grouped else [key[:-2], value[:-2]])], call.shape[:-2])
    if call.has("attn_mask"):
        scores = (*call.shape[:-1], key[-2].size)
        call.broadcast([(*batch, query[-2], key[-2]), call.dims("attn_mask")], scores)
    call.role("head width", query[-1], value[-1])
    call.role("heads", *batch[-1:])
    return (*batch, query[-2], value[-1])


def _grouped_heads(call: Call, query: Dims, key: Dims, value: Dims) -> Dims:
    """Every key and value head serves several query heads in a row."""
    call.algebra.unify(key[-3], value[-3])
    call.role("heads", key[-3])
    each = call.algebra.fresh(query[-3].size // key[-3].size)
    call.algebra.unify(query[-3], product(key[-3], each))
    outer_dims = call.broadcast([query[:-3], key[:-3], value[:-3]], call.shape[:-3])
    return (*outer_dims, query[-3])


def distances(call: Call) -> Result:
    """Points `[..., n, d]` and `[..., m, d]` -> `[..., n, m]`: sums over the d coordinates."""
    first, second = call.dims("x1"), call.dims("x2")
    call.algebra.unify(first[-1], second[-1])
    call.statistic(first[-1])
    batch = call.broadcast([first[:-2], second[:-2]], call.shape[:-2])
    return (*batch, first[-2], second[-2])


def _counts_choices(node: Node) -> bool:
    """Whether these are running sums of how often each expert is chosen."""
    while name_of(node) in PASSING | {"cumsum"}:
        node = node.all_input_nodes[0]
    return name_of(node) == "histc"


def _operands(call: Call) -> tuple[Node, Node]:
    names = {"addmm": ("mat1", "mat2"), "baddbmm": ("batch1", "batch2"), "addmv": ("mat", "vec")}
    by_name = [names[call.name]] if call.name in names else [("self", n) for n in ("mat2", "other", "vec", "tensor")]
    left, right = next(pair for pair in by_name if pair[1] in call.given)
    return call.given[left], call.given[right]


def _bias(call: Call, name: str, dims: Dims) -> None:
    if call.has(name):
        call.broadcast([dims, call.dims(name)], [d.size for d in dims])


def _einsum_of_activations(
    call: Call, terms: list[str], nodes: list[Node], kept: str, letters: dict[str, Expr]
) -> None:
    varying = [term for term, node in zip(terms, nodes, strict=True) if node not in call.weights]
    for letter in letters:
        uses = sum(letter in term for term in varying)
        in_weights = sum(letter in term for term in terms) - uses
        if letter not in kept and not in_weights:
            call.statistic(letters[letter])
            call.role("head width", letters[letter])
        elif letter in kept and uses > 1:
            call.role("heads", letters[letter])


RULES: dict[str, Rule] = {
    **dict.fromkeys(("matmul", "mm", "bmm", "mv", "dot", "vdot", "addmm", "baddbmm", "addmv"), matmul),
    **dict.fromkeys(("_grouped_mm", "grouped_mm_fallback"), grouped),
    "linear": linear,
    "bilinear": bilinear,
    "outer": outer,
    "kron": kron,
    "cdist": distances,
    "einsum": einsum,
    "scaled_dot_product_attention": attention,
}
