"""One pass over data: what goes through every weight, and how the answer depends on it."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Literal

import torch
from torch import Tensor, nn

from laconic.calibrate.activations import watch_activations
from laconic.calibrate.channel_histograms import ChannelHistograms
from laconic.calibrate.evidence import Evidence
from laconic.calibrate.histogram import Histogram
from laconic.calibrate.parts import evidence_of
from laconic.calibrate.predictions import pull
from laconic.calibrate.recorder import Recorder
from laconic.calibrate.untouched import untouched
from laconic.calibrate.weights import Weights
from laconic.core.errors import DataError, LaconicError, ModelError, check_whole
from laconic.core.sound import check_weights
from laconic.core.task import Batch, Task, check_is_task


def calibrate(
    model: nn.Module,
    task: Task,
    *,
    samples: int = 1024,
    gradients: bool = True,
    activations: bool | Literal["channels"] = True,
    seed: int = 0,
) -> Evidence:
    """Gathers evidence about every weight of a model.

    The second moments of a layer with `i` inputs and `o` outputs take `8 (i^2 + o^2)` bytes (a convolution has
    `channels * kernel` inputs for each group); besides those, memory holds one batch's activations and their gradients.

    Args:
        model: in any mode, on any device.
        task: its `calibrate` data is read, in order; labels are used only to see which positions are padding (-100),
            and which dimension of the logits counts the classes (without labels: the last).
        samples: at most so many are read.
        gradients: also gather `G`, by one backward pass a batch. For a classifier each prediction's label is drawn from
            the model's own softmax; for a regression the outputs are means of Gaussians of variance 1 and a prediction
            is one output value, so that a nat is half a squared error.
        activations: also gather histograms; `"channels"`: and one for each channel of what layers read.
        seed: of the drawn labels, and of anything in loader or model that draws from PyTorch's global generators.

    Raises:
        ModelError: the model has no parameters, NaN or infinite weights, or NaN or infinity inside; the first is named.
        DataError: the loader is empty, or the model refuses a batch.

    Guarantees:
        The model is afterwards what it was: mode, gradients, flags, hooks, buffers, bit by bit.
        So is PyTorch's random state.
        Equal arguments give equal evidence.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
        >>> evidence = calibrate(model, Task(evaluate=[(torch.randn(8, 2, 2), torch.zeros(8))]))
        >>> evidence.layers["1.weight"].A.shape, evidence.predictions
        (torch.Size([1, 4, 4]), 8)
        >>> evidence.nats("1.weight", torch.zeros(3, 4))
        0.0
    """
    check_whole("calibrate.samples", samples, 1)
    check_is_task(task, "calibrate")
    device = _checked(model).device
    weights = Weights(model)
    recorder = Recorder(weights)
    histograms: dict[str, Histogram] = {}
    channels: dict[str, ChannelHistograms] = {}
    each = channels if activations == "channels" else None
    generator = torch.Generator(device).manual_seed(seed)
    seen = predictions = 0
    with untouched(model, gradients=gradients, seed=seed):
        for batch in task.batches("calibrate", device=device, limit=samples):
            with recorder, watch_activations(model, histograms, each) if activations else nullcontext():
                logits = _answer(model, task, batch)
            recorder.note_latest()
            _expect_finite(logits, model)
            drawn = pull(logits, batch.labels, generator, regression=task.score.regression)
            if gradients:
                recorder.backward(logits, drawn.error)
            seen += batch.size
            predictions += drawn.predictions
    if predictions == 0:
        raise DataError(
            "Task.calibrate: every label is -100, so nothing is predicted; expected some positions that count."
        )
    uses = evidence_of(recorder.sums, predictions)
    reached = {use.layer.parameter for use in uses}
    return Evidence(
        uses=uses,
        activations=histograms,
        channels=channels,
        samples=seen,
        predictions=predictions,
        unreached=tuple(name for name in weights.shapes if name not in reached),
    )


def _checked(model: nn.Module) -> Tensor:
    """Returns the first parameter of a model whose weights are all finite."""
    check_weights(model, "calibrate.model")
    first = next(model.parameters(), None)
    if first is None:
        raise ModelError(
            f"calibrate: {type(model).__name__} has no parameters; expected weights to compress. Pass the trained "
            "network."
        )
    return first


def _answer(model: nn.Module, task: Task, batch: Batch) -> Tensor:
    try:
        return task.forward(model, batch)
    except LaconicError:
        raise
    except Exception as error:  # Whatever a model raises: the user needs to see which batch it was.
        raise refused("Task.calibrate", model, batch, error) from error


def refused(where: str, model: nn.Module, batch: Batch, error: Exception) -> DataError:
    """Returns the error for a batch on which a model fails."""
    shapes = " and ".join(f"shape {list(x.shape)} ({str(x.dtype).removeprefix('torch.')})" for x in batch.inputs)
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    return DataError(
        f"{where}: {type(model).__name__} refuses a batch with inputs of {shapes}: {reason}. Check what the loader "
        "yields against what the model expects."
    )


def _expect_finite(logits: Tensor, model: nn.Module) -> None:
    """Minus infinity is allowed: it marks an impossible class."""
    if bool(logits.isnan().any()) or bool((logits == torch.inf).any()):
        raise ModelError(
            f"calibrate: the answer of {type(model).__name__} holds NaN or infinity; expected finite logits. Check the "
            "data, and the number format (float16 overflows above 65504)."
        )
