"""All of a run that its checkpoint holds, and a run that takes it up again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from laconic.train import randomness
from laconic.train.checkpoint import identity
from laconic.train.shards import laid_out_moments, laid_out_state, whole_state
from laconic.train.validation import Watched

if TYPE_CHECKING:
    from laconic.train.run import Run


def state_of(run: Run) -> dict[str, Any]:
    """Returns nested state of tensors and scalars, whole on the first process; every process takes part."""
    model, optimizer = dict(run.model.state_dict(keep_vars=True)), run.optimizer.state_dict()
    if run.accelerator.is_fsdp2:
        model, optimizer = whole_state(model), whole_state(optimizer)
    scaler = run.accelerator.scaler
    return {
        "identity": identity_of(run),
        "step": run.step,
        "epoch": run.position.epoch,
        "batch": run.position.batch,
        "losses": run.losses,
        "stopped": run.stopped,
        "watched": vars(run.watched),
        "mean": {} if run.mean is None else dict(run.mean.state_dict()),
        "model": model,
        "parts": {} if run.parts is None else dict(run.parts.state_dict()),
        "optimizer": optimizer,
        "scaler": None if scaler is None else scaler.state_dict(),
        "random": _random_of_all(run),
    }


def take_up(run: Run, state: Mapping[str, Any]) -> None:
    """Puts a run where another one of its kind was."""
    run.step, run.losses, run.stopped = state["step"], state["losses"], state["stopped"]
    run.watched = Watched(**state["watched"])
    run.position.epoch, run.position.batch = state["epoch"], state["batch"]
    run.model.load_state_dict(laid_out_state(state["model"], run.model.state_dict()))
    if run.mean is not None:
        run.mean.load_state_dict(state["mean"])
    if run.parts is not None:
        run.parts.load_state_dict(state["parts"])
    run.optimizer.load_state_dict(laid_out_moments(state["optimizer"], run.optimizer))
    if run.accelerator.scaler is not None:
        run.accelerator.scaler.load_state_dict(state["scaler"])
    run.random = {name: rows[run.accelerator.process_index] for name, rows in state["random"].items()}


def identity_of(run: Run) -> dict[str, str]:
    """Returns what tells a run from others, in words."""
    return identity(
        run.model,
        **run.training.describe(),
        objective=run.objective.name,
        parts="none" if run.parts is None else identity(run.parts)["model"],
        total=f"{run.total} steps",
        validation=str(run.validation),
        place=f"{run.accelerator.num_processes} processes{', sharded' * run.accelerator.is_fsdp2}, precision "
        f"{run.accelerator.mixed_precision}",
    )


def _random_of_all(run: Run) -> dict[str, Tensor]:
    """Returns the state of everything random, a row for each process."""
    device = run.accelerator.device
    captured = randomness.capture(device)
    return {name: run.accelerator.gather(tensor[None].to(device)).cpu() for name, tensor in captured.items()}
