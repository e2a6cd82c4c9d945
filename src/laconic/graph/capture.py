"""The model as a graph of ATen operators, captured once by `torch.export`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, ShapesCollection
from torch.fx import GraphModule, Node
from torch.utils import _pytree as pytree

from laconic.core.errors import invalid
from laconic.core.remembered import forgetting
from laconic.graph.failure import cannot_export, does_not_run
from laconic.graph.quiet import quietly
from laconic.graph.recurrent_shapes import recurrent_shapes
from laconic.graph.sizes import Sizes
from laconic.graph.symbols import (
    Places,
    at_least_two,
    batch_symbols,
    captured_batch,
    dynamic_sizes,
    places,
    size_symbols,
    tensors_in,
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Graph:
    """A captured model.

    Args:
        program: what `torch.export` made; its weights are the user's own tensors.
        name: class name of the model.
        tensors: canonical full name -> parameter or buffer of the user's model.
        aliases: canonical full name -> all names of the same tensor (ties, modules registered twice), itself first.
        sources: name of a placeholder node -> canonical full name of the parameter or buffer it stands for.
        batch_symbols: symbols that the batch size has in shapes; empty where the batch is fixed.
        batch_size: samples in the example inputs as captured.
        sizes: of the inputs that change from call to call, whether this graph takes them as they come or not.
        dynamic_sizes: number of an input -> dimension -> what its size is called in shapes, for those it takes so.
        size_symbols: symbols of such sizes -> what they were when captured.
    """

    program: ExportedProgram
    name: str
    tensors: Mapping[str, Tensor]
    aliases: Mapping[str, tuple[str, ...]]
    sources: Mapping[str, str]
    batch_symbols: frozenset[Any]
    batch_size: int
    sizes: Sizes = field(default_factory=dict)
    dynamic_sizes: Mapping[int, Mapping[int, Any]] = field(default_factory=dict)
    size_symbols: Mapping[Any, int] = field(default_factory=dict)

    @property
    def dynamic_batch(self) -> bool:
        """Whether the graph accepts any batch size."""
        return bool(self.batch_symbols)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All nodes in the order of execution."""
        return tuple(self.program.graph.nodes)

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """Canonical name -> parameter, each tensor once."""
        return {name: t for name, t in self.tensors.items() if isinstance(t, nn.Parameter)}

    def module(self) -> GraphModule:
        """Returns the captured model as a graph module of its own, which shares the user's tensors.

        Views become reshapes: whether a view exists depends on strides, and these change with what is left out.
        """
        module = self.program.module(check_guards=False)
        for node in module.graph.nodes:
            if node.target in (torch.ops.aten.view.default, torch.ops.aten._unsafe_view.default):
                node.target = torch.ops.aten.reshape.default
        return module

    def __str__(self) -> str:
        batch = "any batch size" if self.dynamic_batch else f"batch size fixed at {self.batch_size}"
        return f"Graph of {self.name}: {len(self.nodes)} nodes, {len(self.parameters)} parameters, {batch}"


def capture(
    model: nn.Module,
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None = None,
    *,
    dynamic_batch: bool = True,
    sizes: Sizes | None = None,
) -> Graph:
    """Captures what the model computes in eval mode; the model is left as it was, whatever its mode.

    Args:
        model: any module that `torch.export` can trace.
        args: example positional inputs; dimension 0 of the first tensor is the batch.
        kwargs: example named inputs.
        dynamic_batch: keep dimension 0 of all tensors that share the first one's batch size symbolic. Where the model
            does not allow that, the batch is fixed, and `Graph.dynamic_batch` says so.
        sizes: keep these symbolic too, as far as the model allows; `Graph.dynamic_sizes` says which are.

    Raises:
        UsageError: it is no module written in Python.
        ModelError: the model fails on the inputs, or cannot be exported; names the line of the user's code.

    Example:
        >>> print(capture(nn.Linear(3, 2), (torch.zeros(4, 3),)))
        Graph of Linear: 5 nodes, 2 parameters, any batch size
    """
    if not isinstance(model, nn.Module) or isinstance(model, torch.jit.ScriptModule):
        raise invalid("capture.model", type(model).__name__, "a torch.nn.Module that is written in Python")
    inputs = (tuple(args), dict(kwargs or {}))
    with eval_mode(model), forgetting(model), recurrent_shapes(), quietly():
        program = _export(model, inputs, dynamic_batch, sizes or {})
    program.graph.eliminate_dead_code()  # `weight[0].numel()` leaves a selection behind that nobody reads.
    program.graph_module.recompile()
    groups = _tensor_groups(model)
    canonical = {alias: names[0] for names in groups.values() for alias in names}
    signature = program.graph_signature
    stands_for = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    named = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return Graph(
        program=program,
        name=type(model).__name__,
        tensors=named,
        aliases={names[0]: names for names in groups.values()},
        sources={node: canonical.get(target, target) for node, target in stands_for.items()},
        batch_symbols=(symbols := batch_symbols(program, inputs)),
        batch_size=captured_batch(program),
        sizes=sizes or {},
        dynamic_sizes=dynamic_sizes(program, inputs, sizes or {}),
        size_symbols=size_symbols(program, symbols),
    )


def _export(model: nn.Module, inputs: tuple[Any, Any], dynamic_batch: bool, sizes: Sizes) -> ExportedProgram:
    failures: list[Exception] = []
    wanted = [places(inputs, dynamic_batch, sizes), places(inputs, dynamic_batch, {}), {}]
    for i, chosen in enumerate(wanted):
        if chosen in wanted[:i]:
            continue
        for strict in (False, True):
            try:
                return _export_once(model, inputs, chosen, strict)
            except Exception as failure:
                failures.append(failure)
            if len(failures) == 1:
                _register_dataclasses(_run(model, inputs))
    raise cannot_export(type(model).__name__, failures) from failures[0]


def _export_once(model: nn.Module, inputs: tuple[Any, Any], chosen: Places, strict: bool) -> ExportedProgram:
    if not chosen:
        return torch.export.export(model, *inputs, strict=strict)
    args, kwargs = at_least_two(inputs, chosen)
    shapes = cast(Any, ShapesCollection)()  # torch's class carries no annotations
    leaves = tensors_in((args, kwargs))
    for i, dims in chosen.items():
        shapes[leaves[i]] = dict.fromkeys(sorted(dims), Dim.AUTO)
    return torch.export.export(model, args, kwargs, dynamic_shapes=shapes, strict=strict)


def _run(model: nn.Module, inputs: tuple[Any, Any]) -> Any:
    args, kwargs = inputs
    try:
        return model(*args, **kwargs)
    except Exception as failure:
        raise does_not_run(type(model).__name__, failure) from failure


def _register_dataclasses(output: Any) -> None:
    """Makes dataclasses in the model's output known to `torch.export`, which refuses them otherwise."""
    for leaf in pytree.tree_leaves(output):
        if dataclasses.is_dataclass(leaf) and not isinstance(leaf, type):
            torch.export.register_dataclass(type(leaf))
            _register_dataclasses([getattr(leaf, field.name) for field in dataclasses.fields(leaf)])


def _tensor_groups(model: nn.Module) -> dict[int, tuple[str, ...]]:
    """Returns identity of a parameter or buffer -> all its names, in the order of registration."""
    groups: dict[int, tuple[str, ...]] = {}
    for listing in (model.named_parameters(remove_duplicate=False), model.named_buffers(remove_duplicate=False)):
        for name, tensor in listing:
            groups[id(tensor)] = (*groups.get(id(tensor), ()), name)
    return groups


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Lets a model compute as it is captured: in eval mode, without gradients, caches and fused attention."""
    modes = {module: module.training for module in model.modules()}
    # What a Hugging Face model keeps for the next token is no tensor, and part of no answer.
    keeping = [c for c in map(_config, modes) if getattr(c, "use_cache", None) is True]
    fast_attention = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    for module in modes:
        module.training = False
    for config in keeping:
        config.use_cache = False
    try:
        with torch.no_grad():
            yield
    finally:
        for config in keeping:
            config.use_cache = True
        torch.backends.mha.set_fastpath_enabled(fast_attention)
        for module, training in modes.items():
            module.training = training


def _config(module: nn.Module) -> Any:
    return vars(module).get("config")
