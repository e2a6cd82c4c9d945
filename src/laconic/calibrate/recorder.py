"""Watches a model's operators and sums up what passes through its weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.utils._python_dispatch import TorchDispatchMode

from laconic.calibrate.moments import second_moment
from laconic.calibrate.parts import Part, Sums
from laconic.calibrate.products import Product, product_of
from laconic.calibrate.weights import Weights
from laconic.core.errors import ModelError


class Watched(NamedTuple):
    """The output of a product, as a place in the backward pass."""

    part: Part
    rows: Callable[[Tensor], Tensor]
    edge: GradientEdge


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # PyTorch left it untyped
    """While active, sees every ATen operator: modules, functions, einsum and attention all end in a few products.

    Gradients are those at a product's own output, before anything overwrites it in place: its place in the backward
    pass is noted when the next operator begins, the first moment at which autograd knows it.
    """

    def __init__(self, weights: Weights) -> None:
        TorchDispatchMode.__init__(self)  # type: ignore[no-untyped-call]  # PyTorch left it untyped
        self.sums: dict[Part, Sums] = {}
        self._weights = weights
        self._latest: tuple[Product, Tensor] | None = None
        self._watched: list[Watched] = []

    def __torch_dispatch__(
        self, func: Any, _types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Carries out an operator; notes the inputs if it is a product."""
        self.note_latest()
        product = product_of(self._weights, func, args, kwargs or {})
        if product is not None:
            self._add_inputs(product)
        output = func(*args, **(kwargs or {}))
        if product is not None:
            self._latest = product, output if isinstance(output, Tensor) else output[0]
        return output

    def _add_inputs(self, product: Product) -> None:
        moment, positions = product.moment()
        _expect_finite(moment, f"what goes into {product.part.layer.parameter}")
        self.sums.setdefault(product.part, Sums()).add_inputs(moment, positions)

    def note_latest(self) -> None:
        """Notes the latest product's place in the backward pass; to be called once more after each forward pass."""
        if self._latest is None:
            return
        (product, output), self._latest = self._latest, None
        if output.requires_grad:
            self._watched.append(Watched(product.part, product.rows, get_gradient_edge(output)))
        else:
            self.sums[product.part].differentiable = False

    def backward(self, logits: Tensor, error: Tensor) -> None:
        """Runs the backward pass of all that was recorded since the last one.

        Args:
            logits: the model's answer.
            error: the gradient of the loss at the logits.

        Raises:
            ModelError: the logits have no gradient, or one inside is not finite.
        """
        watched, self._watched = self._watched, []
        if self.sums and not logits.requires_grad:
            raise ModelError(
                "calibrate: the logits carry no gradient to the model's weights; expected a forward pass without "
                "torch.no_grad and detach. Mend it, or pass gradients=False and do without prices in nats."
            )
        if not watched:
            return
        edges = [w.edge for w in watched]
        found: Sequence[Tensor | None] = torch.autograd.grad([logits], edges, [error], allow_unused=True)
        for (part, rows, _), gradient in zip(watched, found, strict=True):
            if gradient is None:  # This output does not reach the logits.
                continue
            moment, _ = second_moment([rows(gradient)])
            _expect_finite(moment, f"the gradient that comes out of {part.layer.parameter}")
            self.sums[part].add_gradients(moment)


def _expect_finite(moment: Tensor, what: str) -> None:
    diagonal = moment if moment.dim() == 2 else moment.diagonal(dim1=1, dim2=2)
    if not bool(diagonal.isfinite().all()):
        raise ModelError(
            f"calibrate: {what} holds NaN or infinity; expected finite numbers. Check the data, the layer before it, "
            "and the number format (float16 overflows above 65504)."
        )
