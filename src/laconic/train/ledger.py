"""The terms of one step's loss, as numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]  # The package ships no types.
from torch import Tensor

from laconic.distill.weighing import Unweighted

Numbers = dict[str, float]


@final
class Ledger:
    """Adds up the terms of a step's batches and reads them all at once."""

    def __init__(self) -> None:
        self._weighted: dict[str, Tensor] = {}
        self._bare: dict[str, Tensor] = {}

    def add(self, terms: Mapping[str, Tensor], bare: Unweighted, part: float) -> None:
        """Takes a batch's terms, what they were before they were weighted, and the batch's part in the step."""
        for name, term in terms.items():
            self._add(self._weighted, name, term, part)
            self._add(self._bare, name, bare.of(term), part)

    def read(self, accelerator: Accelerator) -> tuple[Numbers, Numbers]:
        """Returns the terms of the whole batch, of which each process had its share: weighted, and not."""
        names = [*self._weighted]
        values = torch.stack([*self._weighted.values(), *self._bare.values()])
        if accelerator.num_processes > 1:
            values = accelerator.reduce(values, reduction="mean")
        found = values.tolist()
        return dict(zip(names, found, strict=False)), dict(zip(names, found[len(names) :], strict=True))

    @staticmethod
    def _add(to: dict[str, Tensor], name: str, term: Tensor, part: float) -> None:
        value = term.detach().float() * part
        to[name] = to[name] + value if name in to else value
