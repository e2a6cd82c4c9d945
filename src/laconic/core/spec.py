"""What a swapped-in module is built from: settings and initial weights, never code."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self, final

import torch
from torch import Tensor, nn

from laconic.core.errors import invalid
from laconic.core.stored import Stored


class Spec(Stored):
    """Declares a module that can take another's place. Immutable; concrete specs are final."""

    @abstractmethod
    def build(self, old: nn.Module) -> nn.Module:
        """Returns the new module, on the old one's device and in its dtype."""


@final
@dataclass(frozen=True, eq=False)
class Identity(Spec):
    """The input is the output: the module is left out."""

    kind: ClassVar[str] = "identity"

    def build(self, old: nn.Module) -> nn.Module:
        """Returns `nn.Identity`."""
        return nn.Identity()

    def config(self) -> dict[str, Any]:
        """Returns nothing: there is nothing to set."""
        return {}

    def tensors(self) -> dict[str, Tensor]:
        """Returns nothing."""
        return {}

    @classmethod
    def from_parts(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """Undoes `config` and `tensors`."""
        return cls()

    def __str__(self) -> str:
        return "the identity"


@final
@dataclass(frozen=True, eq=False)
class LowRank(Spec):
    """A linear layer as the product of two thinner ones: `y = second @ (first @ x) + bias`.

    Args:
        first: `[rank, in]`.
        second: `[out, rank]`.
    """

    kind: ClassVar[str] = "low_rank"
    first: Tensor
    second: Tensor

    @property
    def rank(self) -> int:
        """Width of the middle."""
        return self.first.shape[0]

    def build(self, old: nn.Module) -> nn.Module:
        """Returns two real `nn.Linear` layers; the bias of the old one goes to the second."""
        expected = (self.second.shape[0], self.first.shape[1])
        if not isinstance(old, nn.Linear) or tuple(old.weight.shape) != expected:
            raise invalid("LowRank.build", old, f"an nn.Linear with a weight of {list(expected)}")
        # `old.bias` is None for a layer without bias, whatever its annotation says.
        bias: Tensor | None = old.bias
        # On the meta device nothing is initialised, which would draw from the global random state.
        narrow = nn.Linear(self.first.shape[1], self.rank, bias=False, device="meta").to_empty(device="cpu")
        wide = nn.Linear(self.rank, self.second.shape[0], bias=bias is not None, device="meta").to_empty(device="cpu")
        with torch.no_grad():
            narrow.weight.copy_(self.first)
            wide.weight.copy_(self.second)
            if bias is not None:
                wide.bias.copy_(bias)
        return nn.Sequential(narrow, wide).to(old.weight).requires_grad_(old.weight.requires_grad)

    def config(self) -> dict[str, Any]:
        """Returns nothing: the tensors say all."""
        return {}

    def tensors(self) -> dict[str, Tensor]:
        """Returns both factors."""
        return {"first": self.first, "second": self.second}

    @classmethod
    def from_parts(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """Undoes `config` and `tensors`."""
        return cls(tensors["first"], tensors["second"])

    def __str__(self) -> str:
        return f"two linear layers of rank {self.rank}"


ALL: tuple[type[Spec], ...] = (Identity, LowRank)
