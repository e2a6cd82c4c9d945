"""What a model computes, as data: a list of calls that is written down and read back without executing anything."""

from __future__ import annotations

import json
import keyword
import math
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.fx import Graph, Node
from torch.fx.graph import _PyTreeCodeGen, _PyTreeInfo
from torch.nn.utils import parametrize

from laconic.core.errors import ModelError, UsageError
from laconic.core.structure import spec_from_json, spec_to_json

FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    f"{module.__name__}.{name}": getattr(module, name)
    for module, names in (
        (operator, "getitem add sub mul truediv floordiv mod pow neg pos abs eq ne lt le gt ge and_ or_ not_"),
        (math, "ceil floor trunc sqrt"),
        (torch, "sym_int sym_float sym_max sym_min sym_not sym_ite sym_sum"),
    )
    for name in names.split()
}
"""What is called on sizes and on tuples of results, beside operators."""
FACTORIES = frozenset(
    {"arange", "empty", "eye", "full", "linspace", "ones", "rand", "randint", "randn", "scalar_tensor", "zeros"}
    | {"tril_indices", "triu_indices"}
)
"""The operators that may be called without a tensor; of the others some touch files."""
OWN_DEVICE: Mapping[str, Any] = {"device": None}
NAMED: Mapping[str, type] = {"dtype": torch.dtype, "layout": torch.layout, "memory_format": torch.memory_format}


@dataclass(frozen=True, kw_only=True, eq=False)
class Program:
    """A list of calls of operators and of a model's modules.

    Args:
        calls: one a node, in the order of execution: `[name, op, target, args, kwargs]` as compact JSON, with the names
            and meanings of `torch.fx`. The device that the model is on is written as such, whatever it was.
        names: what the inputs are called.
        inputs: structure of `(args, kwargs)`.
        outputs: structure of the result.
        constants: tensors that the calls read and that are not the model's; buffers of this name are made of them.
    """

    calls: tuple[str, ...]
    names: tuple[str, ...]
    inputs: Any
    outputs: Any
    constants: Mapping[str, Tensor]

    @classmethod
    def of(cls, graph: Graph, constants: Mapping[str, Tensor], device: torch.device) -> Self:
        """Writes a graph down.

        Args:
            graph: with inputs and outputs in a structure, as `torch.export` makes it.
            constants: what its `get_attr` nodes read beside parameters and buffers.
            device: what the model is on.

        Raises:
            ModelError: it calls something that cannot be written down; says what.
        """
        info = graph._codegen.pytree_info if isinstance(graph._codegen, _PyTreeCodeGen) else None
        if info is None or info.out_spec is None:
            raise ModelError(
                "Program: got a graph without a structure of inputs and outputs; expected an exported one."
            )
        return cls(
            calls=tuple(_line(node, device) for node in graph.nodes),
            names=tuple(info.orig_args),
            inputs=spec_to_json(info.in_spec),
            outputs=spec_to_json(info.out_spec),
            constants=dict(constants),
        )

    def config(self) -> dict[str, Any]:
        """Returns everything but the constants, as JSON values."""
        return {
            "calls": list(self.calls),
            "names": list(self.names),
            "inputs": self.inputs,
            "outputs": self.outputs,
            "constants": list(self.constants),
        }

    @classmethod
    def from_parts(cls, config: Mapping[str, Any], constants: Mapping[str, Tensor]) -> Self:
        """Undoes `config`."""
        return cls(
            calls=tuple(config["calls"]),
            names=tuple(config["names"]),
            inputs=config["inputs"],
            outputs=config["outputs"],
            constants=constants,
        )

    def graph(self, model: nn.Module) -> Graph:
        """Returns the calls as a graph over a model's modules, parameters and buffers, the constants among these.

        Raises:
            UsageError: the model lacks something that is read or called, or a call is none that a program may make.

        Guarantees:
            Nothing that the calls name gets into generated code but identifiers, and names that the model has.
        """
        device, known = device_of(model), _readable(model)
        graph, nodes = Graph(), dict[str, Node]()
        for line in self.calls:
            name, op, target, args, kwargs = json.loads(line)
            if op in ("get_attr", "call_module") and target not in known[op]:
                raise UsageError(f"Rewrite: the model has no {target!r}; expected it. The plan is of another model.")
            given, named = tuple(_read(args, nodes, device)), dict(_read(kwargs, nodes, device))
            found = _function(target, named) if op == "call_function" else target
            if op not in ("placeholder", "output", "call_function", *known) or name in nodes:
                raise UsageError(f"Rewrite: got a call {line[:80]!r}; expected a new name and a known kind of call.")
            nodes[name] = graph.create_node(op, found, given, named, name if op != "output" else None)
        graph.set_codegen(_PyTreeCodeGen(self._signature()))
        return graph

    @property
    def called(self) -> frozenset[str]:
        """The paths of the modules that are called."""
        parsed = (json.loads(line) for line in self.calls)
        return frozenset(target for _, op, target, *_ in parsed if op == "call_module")

    def _signature(self) -> _PyTreeInfo:
        inputs, outputs = spec_from_json(self.inputs), spec_from_json(self.outputs)
        named = inputs.children()[1].context if inputs.num_children == 2 else ()
        for name in (*self.names, *named):
            if not str(name).isidentifier() or keyword.iskeyword(name):
                raise UsageError(f"Rewrite: got an input named {name!r}; expected an identifier.")
        return _PyTreeInfo(list(self.names), inputs, outputs)


def device_of(model: nn.Module) -> torch.device:
    """Returns the device of a model's first parameter or buffer."""
    first = next(iter([*model.parameters(), *model.buffers()]), None)
    return torch.device("cpu") if first is None else first.device


def _readable(model: nn.Module) -> dict[str, set[str]]:
    """Returns what each kind of node may have as its target: a module's flag `training` can be read like a tensor."""
    modules = {path for path, _ in model.named_modules(remove_duplicate=False)}
    tensors = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    tensors |= {name for name, _ in model.named_buffers(remove_duplicate=False)}
    tensors |= set(_parametrized(model))
    return {"get_attr": tensors | {f"{path}.training".removeprefix(".") for path in modules}, "call_module": modules}


def _parametrized(model: nn.Module) -> Iterator[str]:
    """Yields the tensors that modules compute from others when they are read."""
    for path, module in model.named_modules(remove_duplicate=False):
        if parametrize.is_parametrized(module):
            assert isinstance(module.parametrizations, nn.ModuleDict)
            yield from (f"{path}.{name}".removeprefix(".") for name in module.parametrizations)


def _line(node: Node, device: torch.device) -> str:
    target = node.target if isinstance(node.target, str) else _name(node)
    parts = [node.name, node.op, target, _written(node.args, device), _written(dict(node.kwargs), device)]
    return json.dumps(parts, separators=(",", ":"), allow_nan=False)


def _name(node: Node) -> str:
    if isinstance(node.target, OpOverload) and _is_harmless(node.target):
        return str(node.target)
    for name, function in FUNCTIONS.items():
        if node.target is function:
            return name
    raise ModelError(f"Program: {node.name} calls {node.target}, which cannot be written down.")


def _function(name: str, kwargs: Mapping[str, Any]) -> Callable[..., Any]:
    """Looks an operator up; the names of its arguments get into generated code, so they have to be real ones."""
    if name in FUNCTIONS and not kwargs:
        return FUNCTIONS[name]
    found: Any = torch.ops
    for part in name.split(".") if name.count(".") == 2 and "__" not in name.split(".")[0] else ():
        found = getattr(found, part, None)
    if not isinstance(found, OpOverload) or not _is_harmless(found):
        raise UsageError(f"Rewrite: got a call of {name!r}; expected an operator on tensors that PyTorch has here.")
    if not set(kwargs) <= {argument.name for argument in found._schema.arguments}:
        raise UsageError(f"Rewrite: got {name} with {', '.join(kwargs)}; expected arguments that it has.")
    return found


def _is_harmless(operator: OpOverload) -> bool:
    """Whether an operator computes on tensors alone."""
    takes_tensor = any("Tensor" in str(argument.type) for argument in operator._schema.arguments)
    return takes_tensor or (operator.namespace == "aten" and operator._opname in FACTORIES)


def _written(value: Any, device: torch.device) -> Any:
    match value:
        case None | bool() | int() | str():
            return value
        case list() | tuple():
            return [_written(item, device) for item in value]
        case dict():
            return {"items": [[str(key), _written(item, device)] for key, item in value.items()]}
        case slice():
            return {"slice": [_written(item, device) for item in (value.start, value.stop, value.step)]}
    return _written_leaf(value, device)


def _written_leaf(value: Any, device: torch.device) -> Any:
    match value:
        case float():
            return value if math.isfinite(value) else {"float": str(value)}
        case Node():
            return {"node": value.name}
        case complex():
            return {"complex": [value.real, value.imag]}
        case torch.device():
            return dict(OWN_DEVICE) if value.type == device.type else {"device": str(value)}
    for kind, type_ in NAMED.items():
        if isinstance(value, type_):
            return {kind: str(value).removeprefix("torch.")}
    raise ModelError(f"Program: got an argument {value!r}, which cannot be written down.")


def _read(value: Any, nodes: Mapping[str, Node], device: torch.device) -> Any:
    if isinstance(value, list):
        return [_read(item, nodes, device) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    match kind:
        case "node":
            return nodes[content]
        case "items":
            return {key: _read(item, nodes, device) for key, item in content}
        case "slice":
            return slice(*_read(content, nodes, device))
        case "float":
            return float(content)
        case "complex":
            return complex(*content)
        case "device":
            return device if content is None else torch.device(content)
    found = getattr(torch, content)
    if not isinstance(found, NAMED[kind]):
        raise UsageError(f"Rewrite: got {content!r}; expected a {kind} of PyTorch.")
    return found
