"""What can be done to one layer, at what price."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import final

from laconic.core.edit import Edit, Recode, Swap
from laconic.core.plan import Plan
from laconic.select.menu import Technique
from laconic.share import AcrossDepth


@dataclass(frozen=True, kw_only=True, eq=False)
class Price(ABC):
    """What a change saves and costs.

    Args:
        size_bytes: of the weights that change, afterwards, packed.
        macs: multiply-accumulates of their layers for one sample afterwards.
        predicted_nats: `1/2 tr(G dW A dW^T)`, summed over layers, from the evidence alone.
        nats: the same, corrected by what was measured on this model.
        measured_nats: KL(original || changed) with this change alone, where it was measured.
    """

    size_bytes: int
    macs: float
    predicted_nats: float
    nats: float
    measured_nats: float | None = None

    @property
    @abstractmethod
    def level(self) -> str:
        """What becomes of the weights, in words."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Offer(Price):
    """One technique at one level on one layer.

    Args:
        layer: the weight's name.
        technique: what makes it; None for the layer as it is.
        edit: what would be done; None: nothing.

    What it saves and costs is documented in `Price`.
    """

    layer: str
    technique: Technique | None
    edit: Edit | None

    @property
    def name(self) -> str:
        """The technique's name; empty for the layer as it is."""
        return "" if self.technique is None else type(self.technique).__name__

    @property
    def level(self) -> str:
        """What becomes of the layer, in words."""
        match self.edit:
            case Recode():
                return str(self.edit.coding)
            case Swap():
                return str(self.edit.spec)
        return "as it is"


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class JointOffer(Price):
    """One change of several layers together, in the place of an offer for each of them.

    Args:
        layers: the weights' names.
        technique: what makes it.
        edits: what would be done.

    What it saves and costs is documented in `Price`.
    """

    layers: tuple[str, ...]
    technique: AcrossDepth
    edits: tuple[Edit, ...]

    @property
    def layer(self) -> str:
        """The weights' names in one word."""
        return " + ".join(self.layers)

    @property
    def name(self) -> str:
        """The technique's name."""
        return type(self.technique).__name__

    @property
    def level(self) -> str:
        """What becomes of the layers, in words."""
        return f"one tensor for {len(self.layers)} layers"


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class PriceList:
    """Every offer for every layer of one model.

    Args:
        offers: layer by layer; the first of each is the layer as it is.
        other_bytes: of all parameters and buffers that have no offers.
        other_macs: multiply-accumulates for one sample that belong to none of the layers.
        notes: what the user should know.
        joint: offers for several of the layers together.

    Guarantees:
        Every layer has an offer that leaves it as it is, at no nats.
    """

    offers: tuple[Offer, ...]
    other_bytes: int
    other_macs: float
    notes: tuple[str, ...] = ()
    joint: tuple[JointOffer, ...] = ()

    @property
    def all(self) -> tuple[Offer | JointOffer, ...]:
        """Those for single layers, then those for several."""
        return (*self.offers, *self.joint)

    @property
    def layers(self) -> Mapping[str, tuple[Offer, ...]]:
        """The offers of each layer."""
        found: dict[str, tuple[Offer, ...]] = {}
        for offer in self.offers:
            found[offer.layer] = (*found.get(offer.layer, ()), offer)
        return found

    @property
    def size_bytes(self) -> int:
        """Of all parameters and buffers as they are."""
        return self.other_bytes + sum(found[0].size_bytes for found in self.layers.values())

    @property
    def macs(self) -> float:
        """Multiply-accumulates of one sample as it is."""
        return self.other_macs + sum(found[0].macs for found in self.layers.values())

    def among(self, techniques: Collection[Technique | AcrossDepth]) -> PriceList:
        """Returns the offers of some techniques only; every layer as it is stays among them."""
        return replace(
            self,
            offers=tuple(o for o in self.offers if o.technique is None or o.technique in techniques),
            joint=tuple(o for o in self.joint if o.technique in techniques),
        )

    def rows(self) -> Iterator[dict[str, str | float | None]]:
        """Yields one JSON object an offer."""
        for offer in self.all:
            yield {
                "layer": offer.layer,
                "technique": offer.name,
                "level": offer.level,
                "bytes": offer.size_bytes,
                "macs": offer.macs,
                "predicted_nats": offer.predicted_nats,
                "nats": offer.nats,
                "measured_nats": offer.measured_nats,
            }

    def __str__(self) -> str:
        heads = ("layer", "level", "bytes", "MACs", "nats", "measured")
        table = [heads, *(_cells(offer) for offer in self.all)]
        widths = [max(len(row[i]) for row in table) for i in range(len(heads))]
        lines = [
            "  ".join(
                cell.ljust(w) if i < 2 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
            )
            for row in table
        ]
        return "\n".join([*(line.rstrip() for line in lines), *self.notes])


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Choice:
    """One offer for each layer, or for several of them together.

    Args:
        offers: one a layer, but for those of joint offers.
        size_bytes: of all parameters and buffers.
        macs: multiply-accumulates for one sample.
        nats: the sum of what the offers cost.
        joint: offers for several layers.
    """

    offers: tuple[Offer, ...]
    size_bytes: int
    macs: float
    nats: float
    joint: tuple[JointOffer, ...] = ()

    @property
    def all(self) -> tuple[Offer | JointOffer, ...]:
        """Those of single layers, then those of several."""
        return (*self.offers, *self.joint)

    @property
    def plan(self) -> Plan:
        """The edits."""
        alone = [offer.edit for offer in self.offers if offer.edit is not None]
        return Plan.of([*alone, *(edit for offer in self.joint for edit in offer.edits)])

    def __str__(self) -> str:
        head = f"{self.size_bytes:,} bytes, {self.macs:,.0f} MACs, {self.nats:.3g} nats"
        return "\n".join([head, *(f"  {offer.layer}: {offer.level}" for offer in self.all)])


def _cells(offer: Offer | JointOffer) -> tuple[str, ...]:
    measured = "" if offer.measured_nats is None else f"{offer.measured_nats:.2e}"
    return offer.layer, offer.level, f"{offer.size_bytes:,}", f"{offer.macs:,.0f}", f"{offer.nats:.2e}", measured
