"""What can be known to be wrong before anything long starts."""

from __future__ import annotations

import importlib.util
import warnings

import torch
from torch import nn

from laconic.core.budget import Budget
from laconic.core.errors import DataError, ExportError, LaconicError, ModelError, UsageError, invalid
from laconic.core.sound import check_repeats, check_weights
from laconic.core.target import Target
from laconic.core.task import Batch, Task, check_is_task
from laconic.measure import answers, evaluate
from laconic.measure.runner import TorchRunner, to_array, to_tensor
from laconic.report.wording import is_share


def check_model(model: nn.Module) -> None:
    """Refuses a model that has nothing to compress, or whose weights are not float32 numbers.

    Raises:
        UsageError: it is no module.
        ModelError: no parameters, or one, named, is not there, not float32, NaN or infinite.
    """
    check_weights(model, "compress.model")
    parameters = dict(model.named_parameters())
    if not parameters:
        raise ModelError(
            f"{type(model).__name__}: has no parameters; expected a trained network. Check what is passed."
        )
    for name, parameter in parameters.items():
        if parameter.is_floating_point() and parameter.dtype != torch.float32:
            dtype = str(parameter.dtype).removeprefix("torch.")
            raise ModelError(f"{name}: is {dtype}; expected float32. Pass model.float(), and data of that type.")


def check_task(model: nn.Module, task: Task) -> None:
    """Runs one batch of every part through the model, and scores that of the evaluation data.

    Raises:
        UsageError: it is no task.
        DataError: an empty loader, one that fails, a batch that the model refuses, labels out of range, a metric that
            is not finite.
        ModelError: the model answers with NaN, or the same inputs differently each time.
    """
    check_is_task(task, "compress")
    _warn_of_labels_that_are_inputs(_first_batch(task, "evaluate"))
    sizes = {part: _first_batch(task, part).size for part in ("evaluate", "calibrate")}
    runner = TorchRunner(model, task, name="the model")
    first = list(answers(runner, task, limit=sizes["evaluate"]))
    again = [to_tensor(runner.run([to_array(x) for x in one.batch.inputs])) for one in first]
    check_repeats(model, [one.logits for one in first], again)
    evaluate(first, task.score)
    next(answers(runner, task, part="calibrate", limit=sizes["calibrate"]))
    if task.train is not None:
        next(answers(runner, task, part="train", limit=_first_batch(task, "train").size))


def _warn_of_labels_that_are_inputs(batch: Batch) -> None:
    """Says so where a language model would be scored on repeating its input."""
    labels = batch.labels
    if labels is None or labels.dim() < 2 or labels.is_floating_point():  # What an autoencoder is for is no mistake.
        return
    if any(torch.equal(labels, tokens) for tokens in batch.inputs):
        warnings.warn(
            "Task.evaluate: the labels are the inputs themselves; expected, for each position, what its own logits "
            "should say: in a language model the next token. Write labels[:, :-1] = ids[:, 1:], labels[:, -1] = -100.",
            stacklevel=2,
        )


def check_budget(budget: Budget | None) -> None:
    """Refuses a budget that is none, such as a number.

    Raises:
        UsageError: it is no budget.
    """
    if not isinstance(budget, Budget | None):
        raise invalid(
            "compress.budget", budget, "a laconic.Budget", "For a quarter of the file write laconic.Budget(size=0.25)."
        )


def check_drop(budget: Budget, task: Task) -> None:
    """Refuses points written as a whole number, which would allow any loss.

    Raises:
        UsageError: a drop of more than all there is of a metric that is a share.
    """
    drop = budget.allowed_drop
    if drop is not None and drop > 1 and is_share(task.score.name):
        mend = f"For {drop:g} points write {drop / 100:g} or '{drop:g} %'."
        raise invalid("Budget.drop", drop, f"at most 1, as {task.score.name} is a share", mend)


def check_target(target: Target) -> None:
    """Refuses a runtime that is not installed.

    Raises:
        UsageError: its package cannot be found.
    """
    if importlib.util.find_spec(target.runtime) is None:
        raise UsageError(f"Target.runtime: {target.runtime} is not installed. Run: pip install {target.runtime}")


def check_batch_size(any_batch: bool, captured: int, target: Target) -> None:
    """Refuses to measure a model at a batch size that it cannot take.

    Raises:
        ExportError: its graph holds the batch size of the evaluation data as a constant, and the target has another.
    """
    if not any_batch and captured != target.batch_size:
        raise ExportError(
            f"Target.batch_size: got {target.batch_size}; the model's code fixes the batch at the {captured} of "
            f"an evaluation batch. Write '{target.runtime}:batch_size={captured}', or take the size from x.shape[0]."
        )


def _first_batch(task: Task, part: str) -> Batch:
    try:
        return next(task.batches(part))
    except LaconicError:
        raise
    except Exception as error:  # Whatever a data set raises: the user needs to see which one it was.
        words = " ".join(str(error).split()).rstrip(".")
        raise DataError(
            f"Task.{part}: its loader fails at the first batch ({type(error).__name__}: {words}). Run next(iter(...)) "
            "on it to see where."
        ) from error
