"""What the model is for: data, how to call the model on it, how to score the answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from laconic.core.errors import DataError, invalid
from laconic.core.metric import IGNORED_LABEL, Metric, class_last, metric_named, values_like

LABEL_KEYS = ("labels", "label", "targets", "target", "y")


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One batch, taken apart: `model(*args, **kwargs)` answers it, `labels` (or None) is the truth."""

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    labels: Tensor | None = None

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """All input tensors, in the order in which they are passed."""
        return tuple(v for v in (*self.args, *self.kwargs.values()) if isinstance(v, Tensor))

    @property
    def size(self) -> int:
        """Number of samples."""
        return len(self.inputs[0])

    def to(self, device: torch.device | str) -> Batch:
        """Returns the same batch with its tensors on `device`."""

        def move(value: Any) -> Any:
            return value.to(device) if isinstance(value, Tensor) else value

        return Batch(
            args=tuple(move(v) for v in self.args),
            kwargs={k: move(v) for k, v in self.kwargs.items()},
            labels=move(self.labels),
        )

    def first(self, count: int) -> Batch:
        """Returns the batch's first `count` samples; all of it where it is one piece, as a graph with its edges is."""
        if any(_points(x, self.size) for x in self.inputs):
            return self

        def cut(value: Any) -> Any:
            # A tensor of another length is not one entry a sample, but something all samples share.
            per_sample = isinstance(value, Tensor) and value.dim() > 0 and len(value) == self.size
            return value[:count] if per_sample else value

        return Batch(
            args=tuple(cut(v) for v in self.args),
            kwargs={k: cut(v) for k, v in self.kwargs.items()},
            labels=cut(self.labels),
        )


def _points(tensor: Tensor, samples: int) -> bool:
    """Whether a tensor may hold places in the others, as a graph's edges do: after a cut they would lead nowhere."""
    whole_numbers = not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool)
    return whole_numbers and tensor.dim() > 1 and len(tensor) not in (1, samples)


def split_batch(raw: Any) -> Batch:
    """Takes apart what a loader yields, by the usual conventions.

    A mapping passes its entries by name and keeps `labels`, `label`, `targets`, `target` or `y` as the truth; a
    sequence passes all but its last element by position and keeps the last as the truth (a sequence of one has none); a
    bare tensor is an input without truth. Arrays of numbers count as tensors.

    Raises:
        DataError: the batch holds no input tensor.
    """
    batch = _split(raw)
    _check(batch, raw)
    return batch


def _check(batch: Batch, raw: Any) -> None:
    if not isinstance(batch, Batch) or not batch.inputs or batch.inputs[0].dim() == 0:
        raise DataError(
            f"Task: a batch of type {type(raw).__name__} holds no input tensor; expected (x, y), a tensor x, or a "
            "dict of tensors. Pass Task(split=...), which returns a Batch, to say how your batches are built."
        )


def _split(raw: Any) -> Batch:
    if isinstance(raw, Batch):
        return raw
    if isinstance(raw, Tensor | np.ndarray):
        return Batch(args=(_input(raw),))
    if isinstance(raw, Mapping):
        key = next((k for k in LABEL_KEYS if k in raw), None)
        return Batch(
            kwargs={k: _input(v) for k, v in raw.items() if k != key},
            labels=None if key is None else _labels(raw[key]),
        )
    if isinstance(raw, Sequence) and not isinstance(raw, str) and len(raw) > 0:
        if len(raw) == 1:
            return Batch(args=(_input(raw[0]),))
        return Batch(args=tuple(map(_input, raw[:-1])), labels=_labels(raw[-1]))
    return Batch()


def _input(value: Any) -> Any:
    """Returns arrays of numbers as tensors, over the same memory where PyTorch can write to it."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        return torch.from_numpy(np.require(value, requirements=["C", "W"]))
    return value


def _labels(value: Any) -> Tensor | None:
    if value is None or isinstance(value, Tensor):
        return value
    try:
        return torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            f"Task: labels of type {type(value).__name__} cannot be read as a tensor ({error}); expected a tensor, an "
            "array or numbers. Pass Task(split=...) to say how your batches are built."
        ) from error


def call_model(model: nn.Module, batch: Batch) -> Any:
    """Calls the model on a batch: positional inputs by position, named ones by name."""
    return model(*batch.args, **batch.kwargs)


def read_logits(output: Any) -> Tensor:
    """Finds the logits in what a model returns: a tensor, `.logits`, `["logits"]`, or the first of a tuple."""
    if isinstance(output, Tensor):
        return output
    for key in ("logits", "out", "last_hidden_state"):
        found = output.get(key) if isinstance(output, Mapping) else getattr(output, key, None)
        if isinstance(found, Tensor):
            return found
    if isinstance(output, Sequence) and output and isinstance(output[0], Tensor):
        return output[0]
    raise DataError(
        f"Task: the model returned {type(output).__name__}; expected a tensor, a tuple that starts with one, or an "
        "object with `logits`. Pass Task(logits=...) to say where they are."
    )


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy in nats over all positions whose label is not -100."""
    flat = class_last(logits, labels).flatten(0, -2)
    return functional.cross_entropy(flat, labels.flatten().long(), ignore_index=IGNORED_LABEL)


def squared_error(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean squared error."""
    return functional.mse_loss(values_like(logits, labels), labels.to(logits.dtype))


@dataclass(frozen=True, kw_only=True)
class Task:
    """Data and meaning of a model, independent of what kind of model it is.

    Args:
        evaluate: an iterable that can be walked more than once (a `DataLoader`, a list of batches), with labels; all
            reported figures come from it. A label belongs to the logits of its own position: those of a language model
            are the tokens that come next, not its inputs.
        train: the same for training and recovery; labels are not needed for distillation. None: no training.
        calibrate: the same for the one pass that gathers evidence; default: `train`, else `evaluate` without labels.
        metric: `"accuracy"`, `"cross entropy"` (nats a prediction, for language models: its exponential is the
            perplexity), `"mse"`, or a `Metric`.
        split: takes apart what a loader yields. Default: `split_batch`.
        call: calls the model on a `Batch`. Default: `call_model`.
        logits: finds the logits in the model's output. Default: `read_logits`.
        loss: `(logits, labels) -> scalar`. Default: cross-entropy, or squared error for a metric of regression.
        dynamic: which sizes of the inputs may change from call to call, beside that of the batch, by the names that
            `forward` has for the inputs: `{"ids": {1: "length"}, "mask": {1: "length"}}`. Dimensions of one name have
            one size. None: those in which batches differ. `{}`: none, whatever batches do.

    Example:
        >>> batches = [(torch.zeros(4, 2), torch.tensor([0, 1, 0, 1]))]
        >>> task = Task(evaluate=batches, metric="accuracy")
        >>> [task.forward(nn.Linear(2, 3), batch).shape for batch in task.batches("evaluate")]
        [torch.Size([4, 3])]
    """

    evaluate: Iterable[Any]
    train: Iterable[Any] | None = None
    calibrate: Iterable[Any] | None = None
    metric: str | Metric = "accuracy"
    split: Callable[[Any], Batch] = split_batch
    call: Callable[[nn.Module, Batch], Any] = call_model
    logits: Callable[[Any], Tensor] = read_logits
    loss: Callable[[Tensor, Tensor], Tensor] | None = None
    dynamic: Mapping[str, Mapping[int, str]] | None = None

    def __post_init__(self) -> None:
        _check_dynamic(self.dynamic)
        for name in ("evaluate", "train", "calibrate"):
            loader = getattr(self, name)
            if isinstance(loader, Iterator) or not isinstance(loader, Iterable | None):
                raise invalid(
                    f"Task.{name}",
                    loader,
                    "something that can be walked more than once, such as a DataLoader or a list of batches",
                    "Pass the DataLoader itself, or list(...) of an iterator.",
                )
        object.__setattr__(self, "metric", metric_named(self.metric))

    @property
    def score(self) -> Metric:
        """The metric, looked up."""
        return metric_named(self.metric)

    @property
    def criterion(self) -> Callable[[Tensor, Tensor], Tensor]:
        """The training loss on labels: `(logits, labels) -> scalar`."""
        return self.loss or (squared_error if self.score.regression else cross_entropy)

    def loader(self, part: str) -> Iterable[Any]:
        """Returns the loader of a part: `"train"`, `"evaluate"` or `"calibrate"` (with its default)."""
        if part == "calibrate":
            return next(x for x in (self.calibrate, self.train, self.evaluate) if x is not None)
        found: Iterable[Any] | None = getattr(self, part)
        if found is None:
            raise DataError(f"Task.{part}: there is none, and this step needs it. Pass Task({part}=loader).")
        return found

    def batches(self, part: str, *, device: torch.device | str = "cpu", limit: int | None = None) -> Iterator[Batch]:
        """Yields a part's batches, at most `limit` samples of them.

        Raises:
            DataError: the loader is empty, or a batch holds no input tensor.
        """
        seen = 0
        for raw in self.loader(part):
            batch = self.split(raw)
            _check(batch, raw)
            batch = batch.to(device)
            if limit is not None and seen + batch.size > limit:
                batch = batch.first(limit - seen)
            seen += batch.size
            yield batch
            if limit is not None and seen >= limit:
                return
        if seen == 0:
            raise DataError(f"Task.{part}: the loader yields no samples; expected at least one. Check its data set.")

    def forward(self, model: nn.Module, batch: Batch) -> Tensor:
        """Returns the model's logits for a batch, shape `[samples, ...]`."""
        return self.logits(self.call(model, batch))


def _check_dynamic(dynamic: Any) -> None:
    """Refuses what is no mapping of inputs to named dimensions behind the batch."""
    if dynamic is None:
        return
    listed = list(dynamic.values()) if isinstance(dynamic, Mapping) else [None]
    named = [dims for dims in listed if isinstance(dims, Mapping)]
    places = [(dim, name) for dims in named for dim, name in dims.items()]
    if len(named) < len(listed) or not all(type(d) is int and str(n).isidentifier() for d, n in places):
        raise invalid(
            "Task.dynamic",
            dynamic,
            "the names of sizes by input and dimension",
            "For a length that changes write {'ids': {1: 'length'}}.",
        )
    if any(dim == 0 or name == "batch" for dim, name in places):
        raise invalid("Task.dynamic", dynamic, "dimensions from 1 on", "Dimension 0 is the batch, and takes any size.")


def check_is_task(task: Any, where: str) -> None:
    """Refuses what is no task, such as a loader.

    Raises:
        UsageError: it is none; `where` is who asks.
    """
    if not isinstance(task, Task):
        raise invalid(
            f"{where}.task", type(task).__name__, "a laconic.Task", "Write Task(evaluate=loader, train=train_loader)."
        )
