"""What solvers work out from a layer's evidence."""

import pytest
import torch

from laconic.calibrate import Layer, LayerEvidence
from laconic.solve import halfway_inputs, metric_of, nats_of


def evidence(outputs: int, inputs: int, groups: int = 1) -> LayerEvidence:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(groups, 50, inputs, generator=generator, dtype=torch.float64)
    g = torch.randn(groups, 50, outputs, generator=generator, dtype=torch.float64)
    return LayerEvidence(
        layer=Layer(parameter="a", kind="conv", shape=(groups * outputs, inputs, 1), groups=groups),
        input_sum=x.mT @ x,
        gradient_sum=g.mT @ g,
        positions=torch.full((groups,), 50),
        predictions=25,
    )


@pytest.mark.parametrize("sizes", [(5, 9), (9, 5), (4, 6, 3)])
def test_nats_in_single_precision_are_those_in_double(sizes: tuple[int, ...]) -> None:
    seen = evidence(*sizes)
    delta = torch.randn(seen.layer.shape, generator=torch.Generator().manual_seed(1)) * 1e-30
    assert nats_of(seen, delta * 1e28) == pytest.approx(seen.nats(delta * 1e28), rel=1e-5)
    assert nats_of(seen, delta) == pytest.approx(seen.nats(delta), rel=1e-5)
    assert nats_of(seen, torch.zeros(seen.layer.shape)) == 0


def test_evidence_that_remembers_makes_a_metric_once_and_keeps_the_last_one() -> None:
    seen = evidence(4, 6)
    kept = seen.remembering()
    first = metric_of(kept, damping=0.01)
    assert metric_of(kept, damping=0.01) is first
    assert halfway_inputs(kept) is halfway_inputs(kept)
    assert metric_of(kept, damping=0.1) is not first
    assert metric_of(kept, damping=0.01) is not first
    assert metric_of(seen, damping=0.01) is not metric_of(seen, damping=0.01)


def test_a_sum_of_evidence_remembers_nothing_of_its_parts() -> None:
    kept = evidence(4, 6).remembering()
    before = metric_of(kept, damping=0.01).moment
    assert metric_of(kept + kept, damping=0.02).moment is not before


def test_inputs_that_fill_up_vectors_are_always_zero() -> None:
    metric = metric_of(evidence(4, 6), damping=0.01, width=4)
    last = metric.order.flatten().tolist().index(7)
    assert metric.moment.shape == (1, 8, 8)
    assert (metric.moment[0, last] != 0).sum() == 1
