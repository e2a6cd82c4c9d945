"""What a survey will take, before it starts."""

import pytest
import torch
from torch import nn

from laconic.core.errors import ModelError
from laconic.graph import capture, costs
from laconic.pipeline.forecast import Forecast
from laconic.pipeline.reading import Reading

MODEL = nn.Sequential(nn.Embedding(20_000, 384), nn.Linear(384, 1536), nn.ReLU(), nn.Linear(1536, 384))
WEIGHTS = 20_000 * 384 + 2 * 384 * 1536


def test_weights_and_memory_are_counted_by_hand():
    held = 4 * (WEIGHTS + 1536 + 384)
    moments = 20_000 + 384**2 + (384**2 + 1536**2) + (1536**2 + 384**2)
    assert Forecast.of(MODEL, prices=True) == Forecast(
        layers=3,
        weights=WEIGHTS,
        seconds=pytest.approx(20_000 * 384 * 6e-6 + 384 * 1536 * (2 * 6e-6 + (384 + 1536) * 1.5e-9)),
        memory_bytes=8 * moments + 3 * held + 6 * WEIGHTS,
    )


def test_without_prices_it_takes_no_time_and_less_memory():
    found = Forecast.of(MODEL, prices=False)
    assert found.seconds == 0 and not found.long
    assert found.memory_bytes < Forecast.of(MODEL, prices=True).memory_bytes


def test_what_is_too_wide_for_a_full_moment_is_held_by_its_diagonal():
    wide = Forecast.of(nn.Linear(8, 20_000, bias=False), prices=True)
    assert wide.memory_bytes == 8 * (8**2 + 20_000) + (3 * 4 + 6) * 160_000


def test_passes_over_the_data_are_counted_by_hand():
    graph = capture(MODEL, (torch.zeros(1, 64, dtype=torch.int64),))  # 64 positions a sample.
    alone = Forecast.of(MODEL, prices=True)
    found = alone.with_passes(MODEL, costs(graph), Reading(calibration=100, held_back=50, offers=10))
    a_pass = 2 * 64 * 2 * 384 * 1536 / 6e10
    moments = 64 * 2 * (384**2 + 1536**2) / 6e10
    first = alone.seconds + 100 * (2 * a_pass + moments) + (24 * 10 + 4 * 50) * a_pass
    assert found.seconds == pytest.approx(first)
    assert found.memory_bytes == alone.memory_bytes + 5 * 10**8 + 3 * 100 * costs(graph).activation_peak_bytes
    assert found.cut_seconds == pytest.approx(first + 3 * 100 * (2 * a_pass + moments))


def test_a_long_survey_says_so_in_minutes():
    found = Forecast(layers=72, weights=85_000_000, seconds=1200.0, cut_seconds=1500.0, memory_bytes=2_500_000_000)
    assert found.long
    assert str(found).startswith(
        "pricing 72 layers with 85.0 M weights takes about 20 minutes, and up to 25 minutes more"
    )


def test_more_memory_than_the_machine_has_is_refused_with_another_way():
    found = Forecast.of(MODEL, prices=True)
    found.check_memory(found.memory_bytes)
    with pytest.raises(ModelError, match=r"needs at least .* MB of memory to be observed; .* laconic.stream"):
        found.check_memory(found.memory_bytes - 1)
