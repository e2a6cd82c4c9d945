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


@pytest.mark.parametrize("limit", [4000, 5400, 6800, 8900])
@pytest.mark.parametrize("share", [0.9, 0.95, 1.0])
def test_the_file_fits_and_is_nearly_as_large_as_it_may_be(monkeypatch, limit, share):
    def file_size(job, model, choice, beside):
        return round(choice.size_bytes * share) + 1357

    monkeypatch.setattr(planning, "_file_size", file_size)
    bound = planning._fitted(None, nn.Identity(), prices(), None, limit)
    choice = allocate(prices(), planning.Budget(size=bound.size))
    assert 0.97 * limit <= file_size(None, None, choice, None) <= limit


def test_a_file_that_cannot_be_small_enough_is_the_smallest(monkeypatch):
    monkeypatch.setattr(planning, "_file_size", lambda job, model, choice, beside: choice.size_bytes + 5000)
    bound = planning._fitted(None, nn.Identity(), prices(), None, 6000)
    assert bound.size.value == 200 + 6 * 250
