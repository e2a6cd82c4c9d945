"""Peak memory of every offer of a price list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from laconic.core.codings import AffineGrid
from laconic.core.edit import Recode
from laconic.core.errors import invalid
from laconic.select.offer import Choice, Offer, PriceList

INTEGER_SHARE = 0.45
"""Memory of integer kernels over that of float ones: 0.53 of a perceptron, 0.39 of a convolutional net, as measured."""


@final
@dataclass(frozen=True, kw_only=True)
class Memory:
    """About how many bytes of a process's peak each offer takes: `other` and one offer of each layer.

    Args:
        offers: in the order of `PriceList.offers`.
        other: of the runtime itself, and of all that none of the layers is.
        original: the peak of a process that runs the original, as measured.
    """

    offers: tuple[float, ...]
    other: float
    original: float

    def of(self, prices: PriceList, choice: Choice) -> float:
        """Returns the peak of a choice from the price list; layers that share a tensor take what they did."""
        known = dict(zip(map(id, prices.offers), self.offers, strict=True))
        alone = sum(known[id(offer)] for offer in choice.offers)
        return (
            self.other + alone + sum(known[id(prices.layers[name][0])] for one in choice.joint for name in one.layers)
        )


def peak_memory_of(prices: PriceList, *, original_bytes: float, runtime_bytes: float, integers: bool = False) -> Memory:
    """Guesses what each offer takes of the peak memory of a process that runs the model.

    What the original takes beyond the runtime is shared out by the bytes of its weights. Weights in fewer bits are
    unpacked for float kernels, and zeros and words too, so they save nothing; a factorised layer takes what its factors
    do, and a grid of 8 bits under integer kernels 0.45 of the layer.

    Args:
        prices: of the original.
        original_bytes: peak of a process that runs the original, as `measure.peak_memory` finds it.
        runtime_bytes: peak of a process that loads the runtime and no model.
        integers: activations are rounded too, so that integer kernels run.

    Raises:
        UsageError: the original takes no more than the runtime alone.

    Guarantees:
        The first offers of all layers and `other` add up to the original's peak.

    Example:
        >>> whole = Offer(layer="a", technique=None, edit=None, size_bytes=8, macs=1, predicted_nats=0.0, nats=0.0)
        >>> found = peak_memory_of(
        ...     PriceList(offers=(whole,), other_bytes=2, other_macs=0.0), original_bytes=150, runtime_bytes=100
        ... )
        >>> found.offers, found.other
        ((40.0,), 110.0)
    """
    if not original_bytes > runtime_bytes:
        raise invalid("peak_memory_of.original_bytes", original_bytes, f"more than runtime_bytes, {runtime_bytes:,.0f}")
    whole = {name: offers[0].size_bytes for name, offers in prices.layers.items()}
    a_byte = (original_bytes - runtime_bytes) / max(1, prices.size_bytes)
    held = tuple(a_byte * _held(offer, whole[offer.layer], integers=integers) for offer in prices.offers)
    return Memory(offers=held, other=original_bytes - a_byte * sum(whole.values()), original=original_bytes)


def _held(offer: Offer, whole: int, *, integers: bool) -> float:
    if isinstance(offer.edit, Recode):
        as_integers = integers and isinstance(offer.edit.coding, AffineGrid)
        return whole * (INTEGER_SHARE if as_integers else 1.0)
    return float(offer.size_bytes)
