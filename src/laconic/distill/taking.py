"""Which inputs of a batch a model gets, where teacher and student read different ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from laconic.core.errors import DataError
from laconic.core.task import Batch


def taking(*names: str, **renamed: str) -> Callable[[nn.Module, Batch], Any]:
    """Returns a `Task(call=...)` that passes some of a batch's named inputs, some of them under another name.

    Args:
        names: passed as they are.
        renamed: what the model calls an input -> what the batch calls it.

    Raises:
        DataError: when it is called, for a batch without one of them; those that it has are given.

    Example:
        >>> import torch
        >>> class Widths(nn.Module):
        ...     def forward(self, input_ids):
        ...         return input_ids.shape[1]
        >>> batch = Batch(kwargs={"input_ids": torch.zeros(1, 3), "teacher_ids": torch.zeros(1, 5)})
        >>> taking("input_ids")(Widths(), batch), taking(input_ids="teacher_ids")(Widths(), batch)
        (3, 5)
    """
    wanted = {**{name: name for name in names}, **renamed}

    def call(model: nn.Module, batch: Batch) -> Any:
        missing = [source for source in wanted.values() if source not in batch.kwargs]
        if missing:
            known = ", ".join(batch.kwargs) or "none"
            raise DataError(f"taking: the batch has no input {missing[0]!r}; its named inputs: {known}.")
        return model(**{name: batch.kwargs[source] for name, source in wanted.items()})

    return call
