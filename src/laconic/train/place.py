"""Where training runs: the one file that knows how `accelerate` is started."""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate import (  # type: ignore[import-untyped]  # The package ships no types.
    Accelerator,
    DistributedType,
    FullyShardedDataParallelPlugin,
)
from accelerate.state import AcceleratorState, PartialState  # type: ignore[import-untyped]  # The same.
from torch import nn

from laconic.core.errors import ModelError, invalid
from laconic.core.sound import check_weights
from laconic.train.tracking import Trackers, check_trackers
from laconic.train.training import Precision


def accelerator_for(precision: Precision | None, trackers: Trackers = (), folder: Path | None = None) -> Accelerator:
    """Returns an accelerator of this process, whatever earlier runs of the process have used.

    Raises:
        UsageError: the machine cannot compute in that precision, or a tracker is not installed.
    """
    check_trackers(trackers, folder)
    # accelerate keeps its precision for the life of the process and refuses another one; a run has its own.
    if AcceleratorState._shared_state.get("_mixed_precision") != precision:
        AcceleratorState._reset_state()
    atexit.unregister(_leave_group)
    atexit.register(_leave_group)
    try:
        accelerator = Accelerator(mixed_precision=precision, log_with=list(trackers) or None, project_dir=folder)
    except ValueError as error:
        AcceleratorState._reset_state()
        raise invalid(
            "Training.mixed_precision", precision, "a precision of this machine", f"accelerate says: {error}"
        ) from error
    if accelerator.mixed_precision == "fp16" and accelerator.device.type == "cpu":
        # accelerate says nothing here and computes in float32.
        raise invalid("Training.mixed_precision", "fp16", "a precision of this machine", "Write 'bf16' on a CPU.")
    _shard_on_cpu(accelerator)
    return accelerator


def _shard_on_cpu(accelerator: Accelerator) -> None:
    """Shards on CPUs as on GPUs where the launcher asks for it: accelerate would leave it out without a word.

    Raises:
        UsageError: the first version of FSDP is asked for.
    """
    if os.environ.get("ACCELERATE_USE_FSDP", "false").lower() != "true" or accelerator.num_processes == 1:
        return
    if accelerator.device.type == "cpu":
        AcceleratorState._shared_state["fsdp_plugin"] = FullyShardedDataParallelPlugin()
        for state in (PartialState, AcceleratorState):  # The second takes over what the first says.
            state._shared_state["distributed_type"] = DistributedType.FSDP
    if not accelerator.is_fsdp2:
        raise invalid("FSDP_VERSION", os.environ.get("FSDP_VERSION"), "2", "Launch with --fsdp_version 2.")


def _leave_group() -> None:
    # A process that ends while one of gloo's threads still drops a tensor is aborted, after all its work is done. DDP
    # keeps those threads alive whatever is destroyed; asleep, this one leaves them the interpreter to finish with.
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
        time.sleep(0.1)


@contextmanager
def lent(
    model: nn.Module, teachers: Sequence[nn.Module], device: torch.device, *, noise: bool = True, back: bool = True
) -> Iterator[None]:
    """Places models for a run: the model in train mode (see `to_training`), its teachers in eval mode, on one device.

    Afterwards everything is back where it was, with the traces of `accelerate` taken off; the model is in eval mode. A
    model that is not wanted `back`, as it lies in pieces, stays.

    Raises:
        ModelError: the model has no parameter that can be trained, or one of them has weights that are no numbers.
    """
    for one in (model, *teachers):
        check_weights(one, "train.model")
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
        for module, home in homes if back else homes[1:]:
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
