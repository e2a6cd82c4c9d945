"""Operators back into the modules that they came from, so that a captured model trains like the user's own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby

from torch import Tensor, nn
from torch.fx import Graph, GraphModule, Node
from torch.nn.utils.parametrize import is_parametrized

from laconic.graph.operators import RECURRENT, arguments, module_of, name_of

FOLDED = frozenset(
    f"torch.nn.modules.{name}"
    for name in (
        "linear",
        "conv",
        "batchnorm",
        "instancenorm",
        "normalization",
        "sparse",
        "dropout",
        "activation",
        "pooling",
    )
)
"""Where the modules are defined that are called again."""
DROPOUTS = frozenset({"dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout"})
CHECKS = frozenset({"_assert_tensor_metadata", "_assert_scalar", "_assert_async", "sym_constrain_range_for_size"})
"""What only looks whether shapes and dtypes are those of the capture."""


def fold(module: GraphModule, model: nn.Module) -> Graph:
    """Turns what PyTorch's own layers computed back into calls of these layers, in the module's graph.

    A layer that is called draws its dropout, updates its statistics and runs its hooks. Dropout that was written as a
    function follows the mode of the module that it was written in. All else computes as in eval mode.

    Args:
        module: a captured model; its graph is changed, and is afterwards over the modules of `model`.
        model: has the same modules and tensors.
    """
    graph = module.graph
    modules = dict(model.named_modules(remove_duplicate=False))
    calls = [node for node in graph.nodes if node.op == "call_function"]
    names = _names_in(model)
    for path, group in _groups(calls, modules):
        held = (*modules[path].parameters(), *modules[path].buffers())
        _fold_one(graph, path, group, set().union(*(names[id(tensor)] for tensor in held)))
    for node in graph.find_nodes(op="get_attr"):
        if not node.users:
            graph.erase_node(node)
    for node in reversed(graph.nodes):
        if name_of(node) in CHECKS and not node.users:
            graph.erase_node(node)
        elif node.op == "call_function" and name_of(node) in DROPOUTS and node.args[2] is False:
            with graph.inserting_before(node):
                flag = f"{module_of(node)}.training".removeprefix(".")
                node.update_arg(2, graph.create_node("get_attr", flag))
    return graph


def lost_in_training(graph: Graph, model: nn.Module) -> tuple[str, ...]:
    """Returns the paths of modules whose training mode a folded graph does not have, as far as that can be told.

    These are batch statistics and recurrent dropout that are left as operators, and modules that hold a probability of
    dropping something and whose own code is not called.

    Args:
        graph: what `fold` returned.
        model: as it was given.
    """
    alive = {str(node.target) for node in graph.find_nodes(op="call_module")}
    alive |= {str(node.target).removesuffix("training").removesuffix(".") for node in graph.find_nodes(op="get_attr")}
    found = [module_of(node) for node in graph.nodes if node.op == "call_function" and _is_eval_only(node)]
    found += [path for path, module in model.named_modules() if path not in alive and _drops(module)]
    return tuple(dict.fromkeys(found))


def _is_eval_only(node: Node) -> bool:
    given = arguments(node)
    if name_of(node) in RECURRENT:
        return bool(given.get("dropout"))
    return name_of(node) in ("batch_norm", "instance_norm") and given.get("running_mean") is not None


def _drops(module: nn.Module) -> bool:
    named = ((name, value) for name, value in vars(module).items() if "drop" in name and isinstance(value, float))
    return not _is_folded(module) and any(0 < value < 1 for _, value in named)


def _groups(calls: Iterable[Node], modules: Mapping[str, nn.Module]) -> list[tuple[str, list[Node]]]:
    """Returns the path of each layer and the calls that one call of it made."""
    runs = groupby(calls, lambda node: _layer_call(node, modules))
    return [(found[1], list(group)) for found, group in runs if found is not None]


def _layer_call(node: Node, modules: Mapping[str, nn.Module]) -> tuple[str, str] | None:
    """Returns an identity of the call of the outermost layer that an operator belongs to, and the layer's path."""
    for call, (path, _) in (node.meta.get("nn_module_stack") or {}).items():
        if (layer := modules.get(path)) is not None and _is_folded(layer):
            return call, path
    return None


def _is_folded(module: nn.Module) -> bool:
    kind = type(module).__mro__[1] if is_parametrized(module) else type(module)
    return kind.__module__ in FOLDED and not isinstance(module, nn.MultiheadAttention)


def _names_in(model: nn.Module) -> dict[int, set[str]]:
    """Returns the identity of each parameter and buffer -> all its names."""
    names: dict[int, set[str]] = {}
    for listing in (model.named_parameters(remove_duplicate=False), model.named_buffers(remove_duplicate=False)):
        for name, tensor in listing:
            names.setdefault(id(tensor), set()).add(name)
    return names


def _fold_one(graph: Graph, path: str, group: list[Node], own: set[str]) -> None:
    """Puts one call in the place of several operators, where they read one activation and give one."""
    inside = set(group)
    read = {source for node in group for source in node.all_input_nodes} - inside
    entering = [node for node in read if not (node.op == "get_attr" and node.target in own)]
    leaving = [node for node in group if set(node.users) - inside]
    if len(entering) != 1 or len(leaving) != 1 or not isinstance(entering[0].meta.get("val"), Tensor):
        return
    with graph.inserting_after(group[-1]):
        call = graph.create_node("call_module", path, (entering[0],))
    call.meta = dict(leaving[0].meta)
    leaving[0].replace_all_uses_with(call)
    for node in reversed(group):
        graph.erase_node(node)
