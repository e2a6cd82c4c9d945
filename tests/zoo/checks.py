"""What is asked of every model of the zoo, and how it is found out."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import laconic
from laconic.graph import capture
from laconic.graph.axes import axes
from laconic.graph.oracle import cut_error
from laconic.graph.quiet import quietly
from laconic.prune.agreement import tolerance

from .entry import Built, Entry, Inputs

CHECKS = ("captured", "axes", "ratio", "oracle", "forward", "backward", "reload", "onnx")
RATIO, NEAR = 0.5, 0.02
ONNX_TOLERANCE = 1e-3
STATE, OUTPUTS = "state", "outputs.pt"


@dataclass
class Row:
    """What became of one model.

    Args:
        name: its name.
        parameters: elements of all parameters of the original.
        axes: how many axes were found.
        macs_left: fraction of the multiply-accumulates of the original.
        form: `module` or `graph`.
        seconds: processor time that pruning took.
        passed: checks that passed.
        failures: check -> why it did not pass; those that were not come to are in neither.
    """

    name: str
    parameters: int = 0
    axes: int = 0
    macs_left: float = 1.0
    form: str = ""
    seconds: float = 0.0
    passed: list[str] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)

    def good(self, asked: Sequence[str] = CHECKS) -> bool:
        """Whether all that was asked passed."""
        return not self.failures and set(asked) <= set(self.passed)


def made(entry: Entry, seed: int = 0) -> Built:
    """Builds a model in eval mode, none of whose weights and statistics has the value that it starts with.

    Zero biases, unit scales and layer scales near zero would hide a wrong cut.
    """
    torch.manual_seed(seed)
    model, inputs = entry.build()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.is_floating_point():
                parameter.add_(0.05 * torch.randn_like(parameter))
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(0, 0.1)
            elif name.endswith("running_var"):
                buffer.uniform_(0.5, 1.5)
    return model.eval(), inputs


def judge(entry: Entry, folder: Path, asked: Sequence[str] = CHECKS) -> Row:
    """Runs the checks but the reload, for which it leaves the pruned model's state and outputs in the folder."""
    row = Row(entry.name)
    model, inputs = made(entry)
    row.parameters = sum(p.numel() for p in model.parameters())
    started = time.process_time()
    try:
        pruned = laconic.prune(model, inputs, ratio=RATIO)
    except Exception as failure:
        row.failures[_reached(model, inputs, row)] = said(failure)
        return row
    row.seconds = round(time.process_time() - started, 2)
    row.axes, row.macs_left, row.form = len(pruned.axes), round(pruned.macs_ratio, 4), pruned.kind
    row.passed += ["captured", "axes"]
    for name, check in _checks(entry, model, inputs, pruned):
        if name in asked:
            with noted(row, name):
                check()
    with noted(row, "reload"):
        save(pruned, inputs, folder)
    row.passed = [name for name in row.passed if name != "reload"]
    return row


def save(pruned: laconic.Pruned, inputs: Inputs, folder: Path) -> None:
    """Writes what `reload` needs."""
    from laconic.core.state import save_state

    with torch.no_grad():
        outputs = tensors(call(pruned.model.eval(), inputs))
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"inputs": dict(enumerate(pytree.tree_leaves(inputs))), "outputs": outputs}, folder / OUTPUTS)
    save_state(folder / STATE, pruned.model, pruned.plan)


def reload(entry: Entry, folder: Path) -> None:
    """Loads a pruned model into another original, whose weights differ; for a process that did not prune it.

    Raises:
        AssertionError: it computes something else.
    """
    from laconic.core.state import load_state

    kept = torch.load(folder / OUTPUTS, weights_only=True)
    torch.manual_seed(1)
    model, inputs = entry.build()
    inputs = pytree.tree_unflatten(list(kept["inputs"].values()), pytree.tree_structure(inputs))
    network, _ = load_state(folder / STATE, model)
    with torch.no_grad():
        found = tensors(call(network, inputs))
    for got, expected in zip(found, kept["outputs"], strict=True):
        assert torch.equal(got, expected), "other outputs after a reload"


def call(model: nn.Module, inputs: Inputs) -> Any:
    """Calls a model."""
    return model(**inputs) if isinstance(inputs, Mapping) else model(*inputs)


def arguments_of(inputs: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Returns positional and named inputs."""
    return ((), dict(inputs)) if isinstance(inputs, Mapping) else (tuple(inputs), {})


def tensors(output: Any) -> list[Tensor]:
    """Returns all tensors of an output, also those in dataclasses that no process has told `torch.export` of."""
    found: list[Tensor] = []
    for leaf in pytree.tree_leaves(output):
        if isinstance(leaf, Tensor):
            found.append(leaf)
        elif is_dataclass(leaf):
            found += tensors(list(vars(leaf).values()))
    return found


def others(inputs: Inputs) -> Inputs:
    """Returns inputs with other values of the same kind."""
    return pytree.tree_map_only(
        Tensor, lambda t: torch.randn_like(t) if t.is_floating_point() else t.roll(1, -1), inputs
    )


def _checks(
    entry: Entry, model: nn.Module, inputs: Inputs, pruned: laconic.Pruned
) -> Iterator[tuple[str, Callable[[], None]]]:
    yield "ratio", lambda: _ratio(entry, pruned)
    yield "oracle", lambda: _oracle(model, inputs, pruned)
    yield "forward", lambda: runs(model, inputs, pruned.model)
    yield "backward", lambda: learns(model, inputs, pruned.model)
    yield "onnx", lambda: _onnx(model, inputs, pruned)


def _ratio(entry: Entry, pruned: laconic.Pruned) -> None:
    reached = abs(pruned.macs_ratio - (1 - RATIO)) <= NEAR
    assert reached or (entry.coarse and pruned.notes), f"{pruned.macs_ratio:.1%} of the MACs are left"


def _oracle(model: nn.Module, inputs: Inputs, pruned: laconic.Pruned) -> None:
    """On inputs that the cut was not proven on."""
    fresh = others(inputs)
    args, kwargs = arguments_of(fresh)
    keep = {pruned.axes[name]: indices for name, indices in pruned.keep.items()}
    error = cut_error(pruned.axes, keep, pruned.model, args, kwargs)
    assert error <= tolerance(model), f"{error:.2g} away from the original with zeros"


def runs(model: nn.Module, inputs: Inputs, pruned: nn.Module) -> None:
    with torch.no_grad():
        found, before = (tensors(call(m, inputs)) for m in (pruned, model))
    assert [t.shape for t in found] == [t.shape for t in before], "outputs of another shape"
    assert all(bool(t.isfinite().all()) for t in found if t.is_floating_point()), "outputs that are not finite"


def learns(model: nn.Module, inputs: Inputs, pruned: nn.Module) -> None:
    """In training mode: the same parameters learn as before."""
    learning = [_with_gradient(m, inputs) for m in (model, pruned)]
    missing = learning[0] - learning[1]
    assert not missing, f"no gradient for {', '.join(sorted(missing)[:3])}"


def _with_gradient(model: nn.Module, inputs: Inputs) -> set[str]:
    model.train()
    try:
        loss = sum(t.square().mean() for t in tensors(call(model, inputs)) if t.requires_grad)
        loss.backward()
        found = {name for name, p in model.named_parameters() if p.grad is not None}
        assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None), (
            "gradients not finite"
        )
        return found
    finally:
        model.zero_grad(set_to_none=True)
        model.eval()


def _onnx(model: nn.Module, inputs: Inputs, pruned: laconic.Pruned) -> None:
    try:
        program = _exported(pruned.model, inputs)
    except Exception as failure:
        raise AssertionError(f"{_refused(model, inputs)}: {said(_root(failure))}") from failure
    session = onnxruntime.InferenceSession(_bytes(program), _options(), providers=["CPUExecutionProvider"])
    leaves = [t.numpy() for t in pytree.tree_leaves(inputs) if isinstance(t, Tensor)]
    found = session.run(None, dict(zip((i.name for i in session.get_inputs()), leaves, strict=True)))
    with torch.no_grad():
        expected = [t.numpy() for t in tensors(call(pruned.model, inputs))]
    scale = max(float(np.abs(t).max()) for t in expected)
    error = max(float(np.abs(a.astype(np.float64) - b).max()) for a, b in zip(found, expected, strict=True))
    assert math.isfinite(error) and error <= ONNX_TOLERANCE * scale, f"ONNX Runtime is {error / scale:.2g} away"


def _exported(model: nn.Module, inputs: Inputs) -> Any:
    args, kwargs = arguments_of(inputs)
    graph = capture(model, args, kwargs)
    with quietly():
        return torch.onnx.export(graph.program, dynamo=True, optimize=False, verbose=False)


def _refused(model: nn.Module, inputs: Inputs) -> str:
    try:
        _exported(model, inputs)
    except Exception:
        return "PyTorch exports neither this nor the original"
    return "PyTorch does not export this, but the original"


def _root(failure: BaseException) -> BaseException:
    return failure if failure.__cause__ is None else _root(failure.__cause__)


def _bytes(program: Any) -> bytes:
    content: bytes = program.model_proto.SerializeToString()
    return content


def _options() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return options


def _reached(model: nn.Module, inputs: Inputs, row: Row) -> str:
    """Returns the check at which pruning failed, and notes those before it."""
    args, kwargs = arguments_of(inputs)
    try:
        graph = capture(model, args, kwargs)
    except Exception:
        return "captured"
    row.passed.append("captured")
    try:
        found = axes(graph)
    except Exception:
        return "axes"
    row.axes = len(found)
    if not len(found):
        return "axes"
    row.passed.append("axes")
    return "oracle"


@contextmanager
def noted(row: Row, check: str) -> Iterator[None]:
    """Notes whether a check passes."""
    try:
        yield
    except Exception as failure:
        row.failures[check] = said(failure)
    else:
        row.passed.append(check)


def said(failure: BaseException) -> str:
    """Returns one line."""
    text = str(failure).strip()
    return f"{type(failure).__name__}: {text.splitlines()[0] if text else ''}"[:300]
