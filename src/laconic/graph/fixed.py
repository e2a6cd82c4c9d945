"""Why a model takes a size of its inputs as a constant, in one line that shows the user's own code."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.export import Dim

from laconic.graph.failure import at, first_line, is_users, user_line
from laconic.graph.sizes import Sizes

SIGN = "set_replacement"
"""What PyTorch logs when a symbol becomes a number."""
MEND = "Take it from x.shape where it is used, and cut tables of learnt positions to it."


def resized(inputs: Sequence[Tensor], sizes: Sizes, factors: Mapping[str, float]) -> tuple[Tensor, ...]:
    """Returns inputs with other sizes: the beginning of each, or each repeated.

    Args:
        inputs: an example.
        sizes: which of their dimensions have which name.
        factors: by name; below one to cut, a whole number to repeat. At least one is left.

    Example:
        >>> (shorter,) = resized([torch.zeros(2, 7)], {0: {1: "length"}}, {"length": 0.5})
        >>> shorter.shape
        torch.Size([2, 4])
    """
    found = list(inputs)
    for i, dims in sizes.items():
        for dim, name in dims.items():
            factor = factors.get(name, 1)
            if factor < 1:
                kept = max(1, int(found[i].shape[dim] * factor + 0.5))
                found[i] = found[i].narrow(dim, 0, kept)
            elif factor > 1:
                found[i] = torch.cat([found[i]] * int(factor), dim)
    return tuple(x.contiguous() for x in found)


def why_fixed(model: nn.Module, inputs: Sequence[Tensor], sizes: Sizes, name: str) -> str:
    """Returns what makes a size a constant.

    Args:
        model: takes the inputs by position; in eval mode.
        inputs: an example.
        sizes: which of their dimensions have which name.
        name: the size in question.
    """
    failure = _at_other_sizes(model, inputs, sizes, name)
    if failure is not None:
        return f"the model itself fails at another {name}{at(user_line(failure))}: {first_line(failure)}. {MEND}"
    place = _made_constant(model, inputs, sizes, name)
    if place is not None:
        return f"tracing makes it a constant{at(place)}. Keep it a size there: no loop over it, no int() of it."
    return f"tracing makes it a constant. {MEND}"


def _at_other_sizes(model: nn.Module, inputs: Sequence[Tensor], sizes: Sizes, name: str) -> Exception | None:
    """Returns how the model fails at half and at twice a size; None where it does at one of them only, or neither."""
    failures = []
    for factor in (0.5, 2):
        try:
            with torch.no_grad():
                model(*resized(inputs, sizes, {name: factor}))
        except Exception as failure:  # Whatever the user's code raises.
            failures.append(failure)
    return failures[0] if len(failures) == 2 else None


def _made_constant(model: nn.Module, inputs: Sequence[Tensor], sizes: Sizes, name: str) -> tuple[str, int] | None:
    """Returns the line of the user's code at which a symbol becomes a number while the model is traced."""
    shapes = tuple(
        {dim: Dim.AUTO for dim, size in sizes.get(i, {}).items() if size == name} or None for i in range(len(inputs))
    )
    with _heard() as places:
        try:
            torch.export.export(model, tuple(inputs), dynamic_shapes=(shapes,), strict=False)
        except Exception:  # It could not be traced so at all.
            return None
    return places[0] if places else None


@contextmanager
def _heard() -> Iterator[list[tuple[str, int]]]:
    """Collects the lines of the user's code in which PyTorch's tracer says that a symbol becomes a number."""
    found: list[tuple[str, int]] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if str(record.msg).startswith(SIGN):
                frames = traceback.extract_stack()
                inside = max(i for i, frame in enumerate(frames) if frame.name == _made_constant.__name__)
                users = [(f.filename, f.lineno or 0) for f in frames[inside + 1 :] if is_users(f.filename)]
                found.extend(users[-1:])

    logger = logging.getLogger("torch.fx.experimental.symbolic_shapes")
    before = logger.level, logger.propagate, logger.handlers
    disabled = logging.root.manager.disable
    logging.disable(logging.NOTSET)
    logger.setLevel(logging.INFO)
    logger.propagate, logger.handlers = False, [Listener()]
    try:
        yield found
    finally:
        logging.disable(disabled)
        logger.setLevel(before[0])
        logger.propagate, logger.handlers = before[1:]
