"""Where training runs: the one file that knows how `accelerate` is started."""

from __future__ import annotations

import atexit
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]  # The package ships no types.
from accelerate.state import AcceleratorState  # type: ignore[import-untyped]  # The same.
from torch import nn

from laconic.core.errors import ModelError, invalid
from laconic.train.training import Precision


def accelerator_for(precision: Precision | None) -> Accelerator:
    """Returns an accelerator of this process, whatever earlier runs of the process have used.

    Raises:
        UsageError: the machine cannot compute in that precision.
    """
    # accelerate keeps its precision for the life of the process and refuses another one; a run has its own.
    if AcceleratorState._shared_state.get("_mixed_precision") != precision:
        AcceleratorState._reset_state()
    atexit.unregister(_leave_group)
    atexit.register(_leave_group)
    try:
        accelerator = Accelerator(mixed_precision=precision)
    except ValueError as error:
        AcceleratorState._reset_state()
        raise invalid(
            "Training.mixed_precision", precision, "a precision of this machine", f"accelerate says: {error}"
        ) from error
    if accelerator.mixed_precision == "fp16" and accelerator.device.type == "cpu":
        # accelerate says nothing here and computes in float32.
        raise invalid("Training.mixed_precision", "fp16", "a precision of this machine", "Write 'bf16' on a CPU.")
    return accelerator


def _leave_group() -> None:
    # A process that ends while one of gloo's threads still drops a tensor is aborted, after all its work is done. DDP
    # keeps those threads alive whatever is destroyed; asleep, this one leaves them the interpreter to finish with.
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
        time.sleep(0.1)


@contextmanager
def lent(
    model: nn.Module, teachers: Sequence[nn.Module], device: torch.device, *, noise: bool = True
) -> Iterator[None]:
    """Places models for a run: the model in train mode (see `to_training`), its teachers in eval mode, on one device.

    Afterwards everything is back where it was, with the traces of `accelerate` taken off; the model is in eval mode.

    Raises:
        ModelError: the model has no parameter that can be trained.
    """
    if not any(p.requires_grad for p in model.parameters()):
        raise ModelError("train: the model has no trainable parameter; expected at least one. Check requires_grad.")
    homes = [(m, _device(m)) for m in (model, *teachers)]
    modes = [(m, m.training) for teacher in teachers for m in teacher.modules()]
    traces = {name: vars(model).get(name) for name in ("forward", "_original_forward", "_is_accelerate_prepared")}
    try:
        for module, _ in homes:
            module.to(device).eval()
        to_training(model, noise=noise)
        yield
    finally:
        for name, value in traces.items():
            vars(model).pop(name, None)
            if value is not None:
                vars(model)[name] = value
        for module, home in homes:
            module.to(home)
        for module, training in modes:
            module.training = training
        model.eval()


def to_training(model: nn.Module, *, noise: bool) -> None:
    """Puts a model to train mode, or without noise to eval mode but for recurrent layers, which need it on a GPU."""
    model.train(noise)
    for module in model.modules():
        if isinstance(module, nn.RNNBase):
            module.train()


def _device(module: nn.Module) -> torch.device:
    first = next(module.parameters(), None)
    return torch.device("cpu") if first is None else first.device
