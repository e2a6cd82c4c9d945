"""What can be measured: anything that takes arrays and returns logits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, final

import numpy as np
import torch
from torch import Tensor, nn

from laconic.core.errors import invalid
from laconic.core.task import Batch, Task


class Runner(Protocol):
    """A model in the runtime that serves it."""

    @property
    def name(self) -> str:
        """What errors and reports call it."""

    def run(self, inputs: Sequence[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
        """Returns the logits `[samples, ...]` for the input arrays, given in the order of `Batch.inputs`."""


@final
class TorchRunner:
    """A PyTorch module as a runner: eval mode, no gradients, on the device where the module is.

    Args:
        model: any module; its mode is restored after every run.
        task: how to call it. Inputs are passed the way the first evaluation batch passes them.
        threads: threads inside operators during a run, restored after it; None leaves the process's setting. Only
            operators that use PyTorch's own thread pool honour it.
        name: what errors and reports call it.

    Guarantees:
        The module's modes, gradients and the process's thread count are the same after a run as before.
    """

    def __init__(self, model: nn.Module, task: Task, *, threads: int | None = None, name: str = "PyTorch") -> None:
        if threads is not None and threads < 1:
            raise invalid("TorchRunner.threads", threads, "a positive number of threads, or None")
        self.model = model
        self.task = task
        self.threads = threads
        self.name = name
        self._example = next(task.batches("evaluate", limit=1))
        self._device = next((p.device for p in model.parameters()), torch.device("cpu"))

    def run(self, inputs: Sequence[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
        """Returns the logits as an array."""
        batch = _filled(self._example, [to_tensor(x) for x in inputs]).to(self._device)
        with _threads(self.threads), _evaluating(self.model), torch.inference_mode():
            return to_array(self.task.forward(self.model, batch))


def to_tensor(array: np.ndarray[Any, Any]) -> Tensor:
    """Returns a tensor over the array's memory; copies only what PyTorch cannot share (read-only, negative strides)."""
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))


def to_array(tensor: Tensor) -> np.ndarray[Any, Any]:
    """Returns the tensor as an array on the CPU; bfloat16, which NumPy lacks, as float32."""
    tensor = tensor.detach().cpu()
    found: np.ndarray[Any, Any] = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    return found


def _filled(example: Batch, tensors: Sequence[Tensor]) -> Batch:
    """Puts tensors where the example has its own, in order and in its types."""
    rest = iter(tensors)

    def fill(value: Any) -> Any:
        return next(rest).to(value.dtype) if isinstance(value, Tensor) else value

    if len(tensors) != len(example.inputs):
        raise invalid("TorchRunner.run.inputs", len(tensors), f"{len(example.inputs)} arrays, as in Task.evaluate")
    return Batch(args=tuple(map(fill, example.args)), kwargs={k: fill(v) for k, v in example.kwargs.items()})


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    if count in (None, before):
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
