from dataclasses import replace
from unittest.mock import patch

import pytest
import torch
from torch import nn

from laconic.calibrate import calibrate
from laconic.core.apply import apply
from laconic.core.budget import Budget
from laconic.core.edit import Swap
from laconic.core.plan import Plan
from laconic.core.target import Target
from laconic.core.task import Task
from laconic.factorize import ActivationAwareSVD
from laconic.graph import capture
from laconic.pipeline import planning
from laconic.pipeline.bases import Bases
from laconic.pipeline.job import Job
from laconic.pipeline.reading import Reading
from laconic.pipeline.routes import Wanted
from laconic.quantize import RoundToNearest
from laconic.select import Offer, PriceList, allocate, price

TECHNIQUES = (RoundToNearest(bits=8), RoundToNearest(bits=3))
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
    choice = allocate(prices(), planning.Budget(size=planning.Limit(bound, relative=False)))
    assert 0.97 * limit <= file_size(None, None, choice, None) <= limit


def test_a_file_that_cannot_be_small_enough_is_the_smallest(monkeypatch):
    monkeypatch.setattr(planning, "_file_size", lambda job, model, choice, beside: choice.size_bytes + 5000)
    bound = planning._fitted(None, nn.Identity(), prices(), None, 6000, 6000)
    assert bound == 200 + 6 * 250


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
    with patch("laconic.pipeline.bases.FOR_ONNX", TECHNIQUES), patch("laconic.pipeline.planning.GRIDS", TECHNIQUES):
        yield Bases(job=job, graph=graph, evidence=calibrate(model, job.task), reading=Reading(calibration=job.samples))


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


def test_a_limit_of_memory_is_kept_to_where_bytes_are_shared_out(made):
    """Weights in fewer bits save none; pairs of thin layers do."""
    wanted = Wanted.of(
        Budget(size=0.5, memory=0.95), size_bytes=50_000, macs=1, memory_bytes=200_000, runtime_memory=100_000
    )
    base, bytes_ = made.at(1.0), 30_000.0
    thin = price(made.job.model, made.job.task, techniques=(*TECHNIQUES, ActivationAwareSVD()), measure=0)
    limited = Bases(
        job=made.job,
        graph=made.graph,
        evidence=made.evidence,
        reading=made.reading,
        wanted=replace(wanted, memory=140_000),
    )
    held = planning.Held.of(limited, base, thin, activations=False)
    free, kept = planning.in_limit(thin, bytes_, 0)[0], planning.in_limit(thin, bytes_, 0, held)[0]
    assert held.taken.of(thin, free) > held.limit >= held.taken.of(thin, kept)
    assert any(isinstance(edit, Swap) for edit in kept.plan) and kept.nats > free.nats
    assert planning.Held.of(made, base, thin, activations=False) is None
    impossible = replace(held, limit=1.0)
    assert planning.in_limit(thin, bytes_, 0, impossible)[0].size_bytes == free.size_bytes
