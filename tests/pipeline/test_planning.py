from unittest.mock import patch

import pytest
import torch
from torch import nn

from laconic.calibrate import calibrate
from laconic.core.apply import apply
from laconic.core.budget import Budget
from laconic.core.plan import Plan
from laconic.core.target import Target
from laconic.core.task import Task
from laconic.graph import capture
from laconic.pipeline import planning
from laconic.pipeline.bases import Bases
from laconic.pipeline.job import Job
from laconic.quantize import RoundToNearest
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
    bound = planning._fitted(None, nn.Identity(), prices(), None, limit, limit)
    choice = allocate(prices(), planning.Budget(size=bound.size))
    assert 0.97 * limit <= file_size(None, None, choice, None) <= limit


def test_a_file_that_cannot_be_small_enough_is_the_smallest(monkeypatch):
    monkeypatch.setattr(planning, "_file_size", lambda job, model, choice, beside: choice.size_bytes + 5000)
    bound = planning._fitted(None, nn.Identity(), prices(), None, 6000, 6000)
    assert bound.size.value == 200 + 6 * 250


@pytest.fixture(scope="module")
def made():
    """A network whose weights are more than all around them, its ways not priced yet."""
    torch.manual_seed(0)
    x = torch.randn(64, 48)
    model = nn.Sequential(nn.Linear(48, 96), nn.ReLU(), nn.Linear(96, 80), nn.ReLU(), nn.Linear(80, 4)).eval()
    job = Job(
        model=model,
        task=Task(evaluate=list(x.split(16))),
        budget=Budget(size=0.2),
        target=Target.parse("onnxruntime"),
        recovery=None,
    )
    graph = capture(model, job.example().args)
    coarse = (RoundToNearest(bits=8), RoundToNearest(bits=3))
    with patch("laconic.pipeline.bases.FOR_ONNX", coarse), patch("laconic.pipeline.planning.GRIDS", coarse):
        yield Bases(job=job, graph=graph, evidence=calibrate(model, job.task))


@pytest.mark.parametrize("activations", [False, True])
def test_the_size_of_a_file_is_forecast_with_all_that_decodes_its_weights(made, activations):
    base = made.at(1.0)
    around = planning.around_of(made, activations=activations)
    eight = planning.uniform(base, activations=activations)
    beside = base.rounding if activations else Plan()
    sizes = {}
    for limit in (60_000, 11_000, 5_000):
        choice, sizes[limit] = planning.in_limit(planning.offered(base, activations=activations), limit, around)
        file = planning._file_size(made.job, base.model, choice, beside)
        assert file == pytest.approx(sizes[limit], rel=0.03)
    assert sizes[60_000] <= 60_000 and sizes[11_000] <= 11_000 and sizes[5_000] > 5_000  # Codes alone would fit.
    assert planning.coded_bytes(base.model, planning.Plan.of(choice.plan.recodes)) < 6_000
    network = apply(base.model, eight).eval()
    assert planning.file_bytes_of(network, eight, around) == planning._exported(made.job, network, eight)
