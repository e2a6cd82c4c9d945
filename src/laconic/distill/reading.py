"""Several heads of a model as one answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from laconic.core.errors import DataError


def reading(*heads: str) -> Callable[[Any], Tensor]:
    """Returns a `Task(logits=...)` that puts several heads of an output together.

    Heads of one shape, such as `reading("start_logits", "end_logits")` of a model that marks spans, are stacked,
    `[samples, heads, classes]`: with labels `[samples, heads]` every loss on answers treats each as a row. Heads with
    other numbers of classes are joined, `[samples, classes of all]`, for `EachHead`.

    Args:
        heads: keys or attributes of the output.

    Raises:
        DataError: when it is called, for an output without one of them.

    Example:
        >>> output = {"start_logits": torch.zeros(2, 7), "end_logits": torch.ones(2, 7), "kind": torch.ones(2, 3)}
        >>> reading("start_logits", "end_logits")(output).shape, reading("start_logits", "kind")(output).shape
        (torch.Size([2, 2, 7]), torch.Size([2, 10]))
    """

    def read(output: Any) -> Tensor:
        given: list[Tensor] = []
        for name in heads:
            head = output.get(name) if isinstance(output, Mapping) else getattr(output, name, None)
            if not isinstance(head, Tensor):
                raise DataError(f"reading: the model's {type(output).__name__} has no tensor {name!r}. Name its heads.")
            given.append(head)
        same = len({head.shape for head in given}) == 1
        return torch.stack(given, dim=1) if same else torch.cat(given, dim=-1)

    return read
