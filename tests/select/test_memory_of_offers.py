"""Peak memory among the limits of an allocation."""

import pytest
import torch

from laconic.calibrate import Layer
from laconic.core.budget import Budget
from laconic.core.codings import AffineGrid
from laconic.core.edit import Recode, Swap
from laconic.core.errors import UsageError
from laconic.core.spec import LowRank
from laconic.quantize import RoundToNearest
from laconic.select import Offer, PriceList, allocate
from laconic.select.memory import INTEGER_SHARE, peak_memory_of


def offers(name: str, nats: float) -> tuple[Offer, ...]:
    """As it is, on a grid of 4 bits, and of half the size by low rank."""
    layer = Layer(parameter=f"{name}.weight", kind="linear", shape=(10, 10))
    grid: AffineGrid = RoundToNearest(bits=4).encode(torch.randn(10, 10), layer)
    pair = Swap(name, LowRank(torch.randn(2, 10), torch.randn(10, 2)))
    rows = [(None, 400, 0.0), (Recode(layer.parameter, grid), 70, nats), (pair, 160, 5 * nats)]
    return tuple(
        Offer(
            layer=layer.parameter,
            technique=None,
            edit=edit,
            size_bytes=size,
            macs=1.0,
            predicted_nats=price,
            nats=price,
        )
        for edit, size, price in rows
    )


PRICES = PriceList(offers=(*offers("a", 1.0), *offers("b", 0.1)), other_bytes=200, other_macs=0.0)


def test_weights_in_fewer_bits_save_no_memory_but_factors_and_integer_kernels_do() -> None:
    floats = peak_memory_of(PRICES, original_bytes=3000, runtime_bytes=1000)
    assert floats.offers[:3] == (800, 800, 320)
    assert floats.other + floats.offers[0] + floats.offers[3] == 3000
    integers = peak_memory_of(PRICES, original_bytes=3000, runtime_bytes=1000, integers=True)
    assert integers.offers[:3] == (800, pytest.approx(800 * INTEGER_SHARE), 320)


def test_a_limit_of_memory_takes_the_layer_that_costs_least_apart_and_leaves_the_other_its_bits() -> None:
    memory = peak_memory_of(PRICES, original_bytes=3000, runtime_bytes=1000)
    small = allocate(PRICES, Budget(size=0.4))
    assert [offer.size_bytes for offer in small.offers] == [70, 70]
    both = allocate(PRICES, Budget(size=0.45, memory="2600 B"), memory=memory)
    assert [offer.size_bytes for offer in both.offers] == [70, 160]
    alone = allocate(PRICES, Budget(memory=0.9), memory=memory)
    assert [offer.size_bytes for offer in alone.offers] == [400, 160]


def test_memory_that_is_not_given_or_that_nothing_meets_is_refused() -> None:
    with pytest.raises(
        UsageError, match=r"allocate.memory: got None; .* the budget has memory=0.9. Pass peak_memory_of"
    ):
        allocate(PRICES, Budget(memory=0.9))
    memory = peak_memory_of(PRICES, original_bytes=3000, runtime_bytes=1000)
    with pytest.raises(UsageError, match=r"Budget.memory: got 1,500; expected at least 2,040"):
        allocate(PRICES, Budget(memory=0.5), memory=memory)
    with pytest.raises(UsageError, match=r"peak_memory_of.original_bytes: got 5; expected more than"):
        peak_memory_of(PRICES, original_bytes=5, runtime_bytes=5)
