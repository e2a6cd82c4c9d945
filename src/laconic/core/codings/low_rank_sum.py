"""A thin product, and another coding for what it leaves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self, final

import torch
from torch import Tensor

from laconic.core import codings
from laconic.core.coding import Coding
from laconic.core.errors import invalid
from laconic.core.layout import Layout
from laconic.core.stored import of_kind


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class LowRankSum(Coding):
    """`weight = left @ right + rest`: few directions in full, everything else by another coding.

    Args:
        layout: the matrices that the product makes.
        left: float32 or float16 `[groups, rows, rank]`.
        right: of the same type, `[groups, rank, columns]`.
        rest: a coding of the whole tensor.

    Guarantees:
        A weight that it is given again keeps its codes.

    Reference:
        Yao et al. 2023, arXiv:2303.08302, section 5 (low-rank compensation of a grid); Yu et al. 2017 (low rank plus
        sparse).

    Example:
        >>> from laconic.core.codings import Dense
        >>> coding = LowRankSum(
        ...     layout=Layout.rows((2, 2)),
        ...     left=torch.tensor([[[1.0], [2.0]]]),
        ...     right=torch.tensor([[[3.0, 4.0]]]),
        ...     rest=Dense.of(torch.eye(2)),
        ... )
        >>> coding.decode().tolist()
        [[4.0, 4.0], [6.0, 9.0]]
    """

    kind: ClassVar[str] = "low_rank_sum"
    layout: Layout
    left: Tensor
    right: Tensor
    rest: Coding

    def __post_init__(self) -> None:
        groups, rows, columns = self.layout.matrix
        for name, shape in (("left", (groups, rows, self.rank)), ("right", (groups, self.rank, columns))):
            factor = getattr(self, name)
            if tuple(factor.shape) != shape:
                raise invalid(f"LowRankSum.{name}", list(factor.shape), f"the shape {list(shape)}")
            if factor.dtype not in (torch.float32, torch.float16) or not bool(factor.isfinite().all()):
                raise invalid(f"LowRankSum.{name}", str(factor.dtype), "finite float32 or float16 numbers")
        if self.rest.shape != self.layout.shape:
            raise invalid("LowRankSum.rest", list(self.rest.shape), f"the shape {list(self.layout.shape)}")

    @property
    def rank(self) -> int:
        """Of the product."""
        return self.left.shape[-1]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the decoded tensor."""
        return self.layout.shape

    def product(self) -> Tensor:
        """Returns `left @ right` in the tensor's shape, float32.

        Direction by direction, since a matrix product's last bits differ between machines.
        """
        left, right = self.left.float(), self.right.float()
        total = torch.zeros(self.layout.matrix)
        for place in range(self.rank):
            total += left[:, :, place, None] * right[:, place, None, :]
        return self.layout.restore(total).contiguous()

    def decode(self) -> Tensor:
        """Returns the sum, float32."""
        return self.product() + self.rest.decode()

    def encode(self, weight: Tensor) -> Self:
        """Codes what the same product leaves of another weight."""
        if not bool(weight.isfinite().all()):
            raise invalid("LowRankSum.encode", "a weight with NaN or infinity", "finite numbers")
        weight, product, held = weight.detach().cpu().float(), self.product(), self.rest.decode()
        # What is held already is not worked out again: a difference of sums is off by a rounding.
        return replace(self, rest=self.rest.encode(torch.where(product + held == weight, held, weight - product)))

    def config(self) -> dict[str, Any]:
        """Returns the layout, and the kind and format of the rest."""
        return {"layout": self.layout.config(), "coding": self.rest.kind, "format": self.rest.config()}

    def tensors(self) -> dict[str, Tensor]:
        """Returns both factors and the rest's tensors."""
        rest = {f"rest.{name}": tensor for name, tensor in self.rest.tensors().items()}
        return {"left": self.left, "right": self.right, **rest}

    @classmethod
    def from_parts(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """Undoes `config` and `tensors`."""
        parts = {name.removeprefix("rest."): t for name, t in tensors.items() if name.startswith("rest.")}
        kind = of_kind(codings.ALL, config["coding"], "LowRankSum.coding")
        return cls(
            layout=Layout.from_config(config["layout"]),
            left=tensors["left"],
            right=tensors["right"],
            rest=kind.from_parts(config["format"], parts),
        )

    def __str__(self) -> str:
        return f"rank {self.rank} plus {self.rest}"
