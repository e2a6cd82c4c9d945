"""How one answer lies on disk: as many bytes for every sample."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from laconic.core.errors import invalid

Precision = Literal["float16", "float32"]
Rows = npt.NDArray[np.uint8]


@final
@dataclass(frozen=True, kw_only=True)
class Form:
    """One sample's answer.

    Args:
        shape: of the answer, without samples.
        dtype: of the numbers.
        top: how many classes are kept, with their numbers and the logarithm of the rest's mass; None: all logits.
    """

    shape: list[int]
    dtype: str
    top: int | None

    @staticmethod
    def of(logits: Tensor, precision: Precision, top: int | None) -> Form:
        """Returns the form of some answers.

        Raises:
            UsageError: classes are to be chosen where there are none.
        """
        if top is not None and logits.dim() != 2:
            raise invalid("cached_teacher.top", top, "None for answers that are no [samples, classes]")
        kept = None if top is None or top >= logits.shape[1] - 1 else top
        return Form(shape=list(logits.shape[1:]), dtype=precision, top=kept)

    @property
    def row_bytes(self) -> int:
        """Bytes of a sample."""
        return self._value_bytes + 4 * (self.top or 0)

    @property
    def _value_bytes(self) -> int:
        return (math.prod(self.shape) if self.top is None else self.top + 1) * np.dtype(self.dtype).itemsize

    def pack(self, logits: Tensor) -> Rows:
        """Returns answers as bytes, `[samples, row_bytes]`."""
        if self.top is None:
            return self._bytes(logits.flatten(1).numpy().astype(self.dtype))
        nats = logits.log_softmax(-1)
        kept = nats.topk(self.top)
        rest = nats.scatter(-1, kept.indices, -torch.inf).logsumexp(-1, keepdim=True)
        values = torch.cat([kept.values, rest], -1).numpy().astype(self.dtype)
        return np.concatenate([self._bytes(values), self._bytes(kept.indices.numpy().astype(np.int32))], 1)

    def unpack(self, rows: Rows) -> Tensor:
        """Returns the answers of some samples, float32; classes that were not kept have equal shares of the rest."""
        values = torch.from_numpy(self._numbers(rows[:, : self._value_bytes], self.dtype)).float()
        if self.top is not None:
            classes = torch.from_numpy(self._numbers(rows[:, self._value_bytes :], "int32")).long()
            each = (values[:, -1:] - math.log(self.shape[0] - self.top)).expand(-1, self.shape[0])
            values = each.scatter(-1, classes, values[:, :-1])
        return values.view(len(rows), *self.shape)

    @staticmethod
    def _bytes(values: npt.NDArray[Any]) -> Rows:
        return np.ascontiguousarray(values).view(np.uint8).reshape(len(values), values.shape[1] * values.itemsize)

    @staticmethod
    def _numbers(rows: Rows, dtype: str) -> npt.NDArray[Any]:
        return np.ascontiguousarray(rows).view(dtype)
