"""Whether an exported model takes other sizes than those of its example, and what keeps it from that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from torch import Tensor, nn

from laconic.core.errors import LaconicError
from laconic.core.task import Batch, Task
from laconic.export.onnxruntime.builder import Array
from laconic.export.onnxruntime.capture import Logits
from laconic.export.onnxruntime.session import Session
from laconic.graph.capture import eval_mode
from laconic.graph.failure import first_line
from laconic.graph.fixed import resized, why_fixed
from laconic.graph.sizes import Sizes, names_in

FACTORS = (0.5, 2)
"""Other sizes are these times those of the example."""
# Share of the answers' range; integers round at other places where the values in between differ in their last bits.
TOLERANCE = {False: 1e-3, True: 5e-2}
AS_BEFORE = 4
"""Answers may differ so many times as much as they do at the example's own sizes."""


def constants(network: nn.Module, task: Task, batch: Batch, wanted: Sizes, dynamic: Sizes) -> dict[str, str]:
    """Returns the name of each size that ought to change and cannot -> why.

    Args:
        network: what was captured.
        task: how to call it.
        batch: the example.
        wanted: the sizes that ought to.
        dynamic: those that can.
    """
    left = {i: {d: n for d, n in dims.items() if d not in dynamic.get(i, {})} for i, dims in wanted.items()}
    model = Logits(network, batch, task)
    with eval_mode(model):
        return {name: why_fixed(model, batch.inputs, wanted, name) for name in names_in(left)}


def unlike(network: nn.Module, task: Task, batch: Batch, sizes: Sizes, file: bytes, *, rounded: bool) -> str:
    """Returns how an exported model differs from its network at other sizes; nothing where it answers alike.

    Args:
        network: what was exported.
        task: how to call it.
        batch: the example.
        sizes: those that may change.
        file: the exported model.
        rounded: activations are on grids.
    """
    model, session = Logits(network, batch, task), Session(file)
    with eval_mode(model):
        allowed = max(TOLERANCE[rounded], AS_BEFORE * _error(session, model, batch.inputs))
        others = list(_other_inputs(model, batch.inputs, sizes))
        if not others:
            return "the model itself answers neither at half nor at twice the size, so that nothing could be checked."
        for inputs in others:
            shapes = " and ".join(str(list(x.shape)) for x in inputs)
            try:
                error = _error(session, model, inputs)
            except LaconicError as failure:
                return f"for inputs of {shapes} the file fails: {first_line(failure)}."
            if not error <= allowed:
                return (
                    f"for inputs of {shapes} the file's answers differ from the model's by {error:.1%} of their range."
                )
    return ""


def _other_inputs(model: nn.Module, inputs: Sequence[Tensor], sizes: Sizes) -> Iterator[tuple[Tensor, ...]]:
    """Yields inputs of other sizes that the model takes: all smaller, all larger, and one beside the other."""
    names = names_in(sizes)
    mixed = [{name: FACTORS[(i + k) % 2] for i, name in enumerate(names)} for k in range(2)]
    for factors in [*(dict.fromkeys(names, factor) for factor in FACTORS), *(mixed if len(names) > 1 else [])]:
        other = resized(inputs, sizes, factors)
        try:
            model(*other)
        except Exception:  # Whatever the user's code raises: there may be more positions than it knows.
            continue
        yield other


def _error(session: Session, model: nn.Module, inputs: Sequence[Tensor]) -> float:
    wanted: Array = model(*inputs).detach().cpu().numpy()
    return difference(session.run([x.detach().cpu().numpy() for x in inputs]), wanted)


def difference(found: Array, expected: Array) -> float:
    """Returns the largest difference as a share of the expected range; infinite between different shapes.

    Example:
        >>> difference(np.array([0.0, 2.5]), np.array([0.0, 2.0]))
        0.25
    """
    if found.shape != expected.shape:
        return float("inf")
    return float(np.abs(found - expected).max() / max(float(np.ptp(expected)), 1e-12))
