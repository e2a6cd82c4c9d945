import pytest
from torch import nn

from laconic.pipeline import planning
from laconic.select import Offer, PriceList, allocate

LAYERS, SIZES = "abcdef", (4000, 1000, 880, 610, 500, 250)


def prices():
    """Six layers with offers in steps, so that most sizes are no sum of any."""
    return PriceList(
        offers=tuple(
            Offer(layer=layer, technique=None, edit=None, size_bytes=size, macs=1, predicted_nats=nats, nats=nats)
            for layer in LAYERS
            for size, nats in ((size, 1e-9 * (4000 - size)) for size in SIZES)
        ),
        other_bytes=200,
        other_macs=0.0,
    )


@pytest.mark.parametrize("limit", [4000, 5190, 6000, 9000])
@pytest.mark.parametrize("overhead", [0, 1357, 2000])
def test_the_file_fits_and_is_nearly_as_large_as_it_may_be(monkeypatch, limit, overhead):
    monkeypatch.setattr(planning, "_file_size", lambda job, model, choice, beside: choice.size_bytes + overhead)
    bound = planning._fitted(None, nn.Identity(), prices(), None, limit)
    size = allocate(prices(), planning.Budget(size=bound.size)).size_bytes + overhead
    assert 0.94 * limit <= size <= limit


def test_a_file_that_cannot_be_small_enough_is_the_smallest(monkeypatch):
    monkeypatch.setattr(planning, "_file_size", lambda job, model, choice, beside: choice.size_bytes + 5000)
    bound = planning._fitted(None, nn.Identity(), prices(), None, 6000)
    assert bound.size.value == 200 + 6 * 250
