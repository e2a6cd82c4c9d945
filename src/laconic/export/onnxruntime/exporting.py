"""From a model and a plan to an ONNX file, and what ONNX Runtime will do with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import onnx_ir as ir
import torch
from torch import Tensor, nn

from laconic.core.codings import Coding, Dense, LowRankSum, Sparse
from laconic.core.edit import RoundActivation
from laconic.core.errors import ExportError
from laconic.core.files import write_bytes
from laconic.core.packing import unzipped
from laconic.core.plan import Plan
from laconic.core.task import Batch, Task
from laconic.export.onnxruntime.any_size import constants, unlike
from laconic.export.onnxruntime.capture import Captured, to_onnx
from laconic.export.onnxruntime.guard import guard
from laconic.export.onnxruntime.kernels import INTEGER, kernels
from laconic.export.onnxruntime.marks import mark, optimise
from laconic.export.onnxruntime.places import Place, looked_up, obstacle, places, refusal
from laconic.export.onnxruntime.weights import Packed, write_weights
from laconic.graph.sizes import Sizes, input_names, names_in, sizes_of

_LARGEST_FILE = 2**31 - 1


@dataclass(frozen=True, kw_only=True)
class Exported:
    """An ONNX file and what is known about it.

    Args:
        path: the file.
        size_bytes: its size.
        input_names: in the order of `Batch.inputs`.
        dynamic_batch: whether it takes any batch size; otherwise only that of the example.
        dynamic: input, as the model calls it -> dimension -> name of its size, where that is not the example's alone.
        largest: name of such a size -> the most that it may be, where there is a limit.
        fixed: name of a size that ought to be so -> why it is that of the example for ever.
        kernels: parameter -> the operators that multiply with it in ONNX Runtime's own graph, e.g. `QLinearConv`.
        integer: parameters that only integer kernels multiply with.
        left_float: parameter -> why a layer with an integer weight and a rounded input is still computed in float.
        left_whole: parameter -> why a recoded weight is in the file as float numbers.
    """

    path: Path
    size_bytes: int
    input_names: tuple[str, ...]
    dynamic_batch: bool
    dynamic: Mapping[str, Mapping[int, str]]
    largest: Mapping[str, int]
    fixed: Mapping[str, str]
    kernels: Mapping[str, str]
    left_float: Mapping[str, str]
    left_whole: Mapping[str, str]

    @property
    def integer(self) -> tuple[str, ...]:
        """Parameters that only integer kernels multiply with."""
        return tuple(p for p, found in self.kernels.items() if set(found.split(", ")) <= set(INTEGER))


def export(network: nn.Module, plan: Plan, task: Task, batch: Batch, path: str | Path) -> Exported:
    """Writes a network as an ONNX file for ONNX Runtime.

    Weights on affine grids are stored as packed integer codes. Where a layer's input is rounded too, the weight reaches
    the layer through DequantizeLinear, so that ONNX Runtime multiplies integers; elsewhere it is decoded once, at load.
    Weights whose values come from tables (number formats, codebooks) are stored as packed places and their tables,
    those of half precision in 16 bits, sums of a thin product and a rest as both factors and the rest, and decoded at
    load: the file is small, memory holds them in float. Where most codes are the same one, as zeros behind a mask are,
    it is left out, and the others come with how many of it lie before each. Rows of embeddings are decoded when they
    are used.

    Sizes of the inputs that change from call to call, as `Task.dynamic` or the batches say, the file takes as they
    come: checked by answers at half and at twice the example's. Where that cannot be, they are those of the example,
    and `Exported.fixed` says why.

    Args:
        network: the model under the plan, `apply(model, plan)`, in any mode; left untouched.
        plan: what was done to it; says which of its weights have integer codes.
        task: how to call it and where its logits are.
        batch: an example.
        path: the file to write, whole or not at all.

    Raises:
        ModelError: the network fails on the batch, or cannot be captured.
        ExportError: it cannot be said in ONNX, or the runtime refuses it.
        ArtifactError: the file cannot be written.
    """
    wanted = sizes_of(network, task, batch)
    made = _made(network, plan, task, batch, wanted)
    fixed = constants(network, task, batch, wanted, made.captured.sizes)
    rounded = any(isinstance(edit, RoundActivation) for edit in plan)
    if made.captured.sizes:
        why = unlike(network, task, batch, made.captured.sizes, serialised(made.model), rounded=rounded)
        if why:
            fixed |= dict.fromkeys(names_in(made.captured.sizes), why)
            made = _made(network, plan, task, batch, {})
    content = serialised(made.model)
    write_bytes(Path(path), content)
    known = input_names(network, batch)
    return Exported(
        path=Path(path),
        size_bytes=len(content),
        input_names=tuple(str(value.name) for value in made.model.graph.inputs),
        dynamic_batch=made.captured.dynamic_batch,
        dynamic={known[i]: dims for i, dims in made.captured.sizes.items()},
        largest=made.captured.largest,
        fixed=fixed,
        kernels=made.kernels,
        left_float=made.left_float,
        left_whole=made.left_whole,
    )


class _Made(NamedTuple):
    """A whole model for the runtime; see `Exported` for what is not said here.

    Args:
        model: with its weights as they will be in the file.
        captured: what it was made of.
        kernels: of each parameter.
        left_float: why not on integers.
        left_whole: why not as codes.
    """

    model: ir.Model
    captured: Captured
    kernels: Mapping[str, str]
    left_float: Mapping[str, str]
    left_whole: Mapping[str, str]


def _made(network: nn.Module, plan: Plan, task: Task, batch: Batch, sizes: Sizes) -> _Made:
    captured = to_onnx(network, batch, task, sizes)
    whole = captured.model
    grids, left_whole = _packed(network, plan)
    mark(whole, _holders(whole, network, grids))
    optimise(whole)
    found, ran, left_float = written(whole, grids)
    return _Made(found, captured, ran, left_float, left_whole)


def _packed(network: nn.Module, plan: Plan) -> tuple[dict[str, Packed], dict[str, str]]:
    """Returns the coding of each parameter that goes into the file as codes, and why others do not."""
    grids: dict[str, Packed] = {}
    left: dict[str, str] = {}
    held = dict(network.named_parameters(remove_duplicate=False))
    for edit in map(unzipped, plan.recodes):
        grids.pop(edit.parameter, None)
        left.pop(edit.parameter, None)
        if isinstance(edit.coding, Dense):
            continue
        coding = as_packed(edit.coding)
        if coding is None:
            left[edit.parameter] = f"ONNX Runtime has no {_unknown(edit.coding).kind} coding"
        elif len(coding.shape) < 2:
            left[edit.parameter] = "it has one dimension"
        elif not _holds(held.get(edit.parameter), edit.coding):
            left[edit.parameter] = "the network holds other values than its codes stand for"
        else:
            grids[edit.parameter] = coding
    return grids, left


def as_packed(coding: Coding) -> Packed | None:
    """Returns a coding of the same values that can go into a file as it is stored.

    A mask cannot, but what is inside it can wherever it has a code for zero; that code is then left out of the file.
    """
    if isinstance(coding, Sparse):
        inner = as_packed(coding.inner)
        whole = None if inner is None else inner.encode_within(coding.decode(), coding.mask)
        return whole if whole is not None and torch.equal(whole.decode(), coding.decode()) else None
    if isinstance(coding, LowRankSum):
        rest = as_packed(coding.rest)
        return None if rest is None else replace(coding, rest=rest)
    return coding if isinstance(coding, Packed) else None


def _unknown(coding: Coding) -> Coding:
    """Returns the part of a coding that cannot be in a file."""
    return _unknown(coding.rest) if isinstance(coding, LowRankSum) else coding


def _holds(tensor: Tensor | None, grid: Coding) -> bool:
    return tensor is not None and tensor.dtype == torch.float32 and torch.equal(tensor.detach().cpu(), grid.decode())


def _holders(whole: ir.Model, network: nn.Module, grids: Mapping[str, Packed]) -> dict[str, str]:
    """Returns initializer -> parameter; a tied weight is in the graph under any of its names."""
    names: dict[Tensor, str] = {}
    held = dict(network.named_parameters(remove_duplicate=False))
    for parameter in grids:
        names[held[parameter]] = parameter
    return {name: names[t] for name, t in held.items() if t in names and name in whole.graph.initializers}


def written(whole: ir.Model, grids: Mapping[str, Packed]) -> tuple[ir.Model, dict[str, str], dict[str, str]]:
    """Writes the weights so that ONNX Runtime takes integer kernels wherever it can.

    It makes one of an operator only if all around it fits, which its own optimised graph shows. An operator that it
    leaves in float gets a decoded weight in a second attempt: otherwise the weight would be decoded at every run.
    """
    sites = places(whole)
    reasons = {p.name: obstacle(p, grids[p.parameter]) for p in sites if p.step is not None}
    wanted = {name for name, reason in reasons.items() if reason is None}
    while True:
        attempt = whole.clone()
        write_weights(attempt, grids, [p for p in places(attempt) if p.name in wanted])
        guard(attempt)
        ran = kernels(attempt, [p.name for p in sites])
        refused = {name for name in wanted if ran.get(name) not in INTEGER}
        if not refused:
            break
        wanted -= refused
        reasons |= {p.name: refusal(p) for p in sites if p.name in refused}
    left = {p.parameter: reason for p in sites if (reason := reasons.get(p.name))}
    return attempt, _by_parameter(whole, sites, ran), left


def _by_parameter(whole: ir.Model, sites: list[Place], ran: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, list[str]] = {parameter: ["Gather"] for parameter in looked_up(whole)}
    for place in sites:
        found.setdefault(place.parameter, []).append(ran.get(place.name, place.node.op_type))
    return {parameter: ", ".join(dict.fromkeys(kinds)) for parameter, kinds in found.items()}


def serialised(model: ir.Model) -> bytes:
    """Returns the content of a file, without what only people read.

    Raises:
        ExportError: it would be larger than such a file can be.
    """
    weights = sum(v.const_value.nbytes for v in model.graph.initializers.values() if v.const_value is not None)
    if weights > _LARGEST_FILE:
        raise ExportError(
            f"export to ONNX: {weights / 1e9:.1f} GB of weights; one file holds at most 2 GB. Use fewer bits a weight."
        )
    for node in model.graph:
        node.name = None
    proto = ir.to_proto(model)
    del proto.graph.value_info[:]  # like names of operators, more bytes than use: runtimes find shapes out themselves
    content: bytes = proto.SerializeToString()
    return content
