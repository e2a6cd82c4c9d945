"""Weights on the terms of a loss, and what the terms were without them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import final

from torch import Tensor


@final
class Unweighted:
    """What terms were before they were weighted, for those who write a run down."""

    def __init__(self) -> None:
        # Products are kept with their terms, so that no other tensor gets the identity of one that is gone.
        self._terms: dict[int, tuple[Tensor, Tensor]] = {}

    def note(self, product: Tensor, term: Tensor) -> None:
        """Remembers the term of a product; of a product's product, the first term."""
        self._terms[id(product)] = (product, self.of(term))

    def of(self, product: Tensor) -> Tensor:
        """Returns the term of a product; a tensor that nobody has weighted is its own."""
        return self._terms.get(id(product), (product, product))[1]


_listening: ContextVar[Unweighted | None] = ContextVar("listening", default=None)


def weighted(term: Tensor, weight: float | Tensor) -> Tensor:
    """Returns `weight * term`; a loss that weighs its terms by this has them reported without weights too.

    Example:
        >>> import torch
        >>> with unweighted() as found:
        ...     product = weighted(weighted(torch.tensor(3.0), 0.5), 0.1)
        >>> found.of(product)
        tensor(3.)
    """
    product = weight * term
    if (listening := _listening.get()) is not None:
        listening.note(product, term)
    return product


def summed(terms: Sequence[Tensor], divisor: float = 1) -> Tensor:
    """Returns the sum of some terms over a number, of which the terms without weights are known as well."""
    total = sum(terms[1:], terms[0]) / divisor
    if (listening := _listening.get()) is not None:
        bare = [listening.of(term) for term in terms]
        listening.note(total, sum(bare[1:], bare[0]) / divisor)
    return total


@contextmanager
def unweighted() -> Iterator[Unweighted]:
    """Yields what remembers the terms that are weighted meanwhile."""
    found = Unweighted()
    token = _listening.set(found)
    try:
        yield found
    finally:
        _listening.reset(token)
