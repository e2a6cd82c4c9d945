"""What a survey will take, before it starts."""

import pytest
from torch import nn

from laconic.core.errors import ModelError
from laconic.pipeline.forecast import Forecast

MODEL = nn.Sequential(nn.Embedding(20_000, 384), nn.Linear(384, 1536), nn.ReLU(), nn.Linear(1536, 384))
WEIGHTS = 20_000 * 384 + 2 * 384 * 1536


def test_weights_and_memory_are_counted_by_hand():
    held = 4 * (WEIGHTS + 1536 + 384)
    moments = 20_000 + 384**2 + (384**2 + 1536**2) + (1536**2 + 384**2)
    assert Forecast.of(MODEL, prices=True) == Forecast(
        layers=3,
        weights=WEIGHTS,
        seconds=pytest.approx(20_000 * 384 * 5e-6 + 384 * 1536 * (2 * 5e-6 + (384 + 1536) * 5e-9)),
        memory_bytes=8 * moments + 3 * held + 6 * WEIGHTS,
    )


def test_without_prices_it_takes_no_time_and_less_memory():
    found = Forecast.of(MODEL, prices=False)
    assert found.seconds == 0 and not found.long
    assert found.memory_bytes < Forecast.of(MODEL, prices=True).memory_bytes


def test_what_is_too_wide_for_a_full_moment_is_held_by_its_diagonal():
    wide = Forecast.of(nn.Linear(8, 20_000, bias=False), prices=True)
    assert wide.memory_bytes == 8 * (8**2 + 20_000) + (3 * 4 + 6) * 160_000


def test_a_long_survey_says_so_in_minutes():
    found = Forecast(layers=72, weights=85_000_000, seconds=1200.0, memory_bytes=2_500_000_000)
    assert found.long
    assert str(found).startswith("pricing 72 layers with 85.0 M weights takes about 20 minutes")


def test_more_memory_than_the_machine_has_is_refused_with_another_way():
    found = Forecast.of(MODEL, prices=True)
    found.check_memory(found.memory_bytes)
    with pytest.raises(ModelError, match=r"needs at least .* MB of memory to be observed; .* laconic.stream"):
        found.check_memory(found.memory_bytes - 1)
