import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from laconic.solve import InputMetric, compensate, refine, sweep

STEP = 0.25


def to_grid(wanted: torch.Tensor, place: int) -> torch.Tensor:
    return (wanted / STEP).round().clamp(-4, 3) * STEP


def problem(inputs: int, outputs: int, vectors: int, groups: int = 1, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(groups, vectors, inputs, generator=generator, dtype=torch.float64)
    mix = torch.randn(inputs, inputs, generator=generator, dtype=torch.float64) + torch.eye(inputs)
    x = x @ mix
    weight = 0.4 * torch.randn(groups, outputs, inputs, generator=generator)
    return weight, InputMetric.of(x.mT @ x / vectors)


def brain_surgery(weight: torch.Tensor, moment: torch.Tensor) -> torch.Tensor:
    """Hassibi and Stork's update, input after input, with the inverse of what is left: `[inputs]` for one output."""
    weight, left = weight.double().clone(), list(range(len(weight)))
    fixed = torch.zeros_like(weight)
    while left:
        inverse = torch.linalg.inv(moment[left][:, left])
        first = left[0]
        fixed[first] = to_grid(weight[first], first)
        weight[left] -= (weight[first] - fixed[first]) / inverse[0, 0] * inverse[0]
        left = left[1:]
    return fixed


@pytest.mark.parametrize("block", [1, 3, 64])
@pytest.mark.parametrize("vectors", [5, 60])
def test_every_weight_is_where_brain_surgery_puts_it(block: int, vectors: int, monkeypatch) -> None:
    monkeypatch.setattr("laconic.solve.sweep.BLOCK", block)
    weight, metric = problem(10, 6, vectors, groups=2)
    arranged = metric.arrange(weight)
    found = compensate(arranged, metric, to_grid)
    for group in range(2):
        for output in range(6):
            expected = brain_surgery(arranged[group, :, output], metric.moment[group])
            assert torch.equal(found[group, :, output].double(), expected)


def test_a_hand_worked_pair_of_inputs() -> None:
    # H = [[2, 1], [1, 2]], so an error e at the first input is best answered by e / 2 at the second.
    metric = InputMetric.of(torch.tensor([[[2.0, 1.0], [1.0, 2.0]]]).double(), damping=1e-9)
    weight = torch.tensor([[[0.5], [0.8]]])
    found = compensate(weight, metric, lambda wanted, place: wanted.sub(0.2).round().clamp(min=0))
    # 0.5 becomes 0, and 0.8 + 0.25 = 1.05 becomes 1; alone 0.8 becomes 1 as well, so look at what was wanted.
    assert found.flatten().tolist() == [0.0, 1.0]
    seen = []
    compensate(weight, metric, lambda wanted, place: seen.append(wanted.item()) or torch.zeros_like(wanted))
    assert seen == pytest.approx([0.5, 1.05])


def test_a_diagonal_metric_leaves_nothing_to_make_up_for() -> None:
    metric = InputMetric.of(torch.diag(torch.tensor([3.0, 1.0, 0.5])).double()[None])
    weight = torch.randn(1, 3, 5)
    assert torch.equal(compensate(weight, metric, to_grid), to_grid(weight, 0))
    assert torch.equal(refine(weight, to_grid(weight, 0), metric, to_grid), to_grid(weight, 0))


def test_values_of_the_set_stay_as_they_are() -> None:
    weight, metric = problem(9, 4, 30)
    weight = metric.arrange(to_grid(weight, 0))
    assert torch.equal(compensate(weight, metric, to_grid), weight)


@given(inputs=st.integers(1, 12), outputs=st.integers(1, 4), vectors=st.integers(1, 20), seed=st.integers(0, 999))
def test_refining_never_adds_error(inputs: int, outputs: int, vectors: int, seed: int) -> None:
    weight, metric = problem(inputs, outputs, vectors, seed=seed)
    weight = metric.arrange(weight)
    start = compensate(weight, metric, to_grid)
    before, after = metric.error(start - weight), metric.error(refine(weight, start, metric, to_grid) - weight)
    assert (after <= before * (1 + 1e-5) + 1e-9).all()


def test_refining_ends_where_no_single_step_helps() -> None:
    weight, metric = problem(12, 3, 40)
    weight = metric.arrange(weight)
    found = refine(weight, to_grid(weight, 0), metric, to_grid, sweeps=50)
    least = metric.error(found - weight)
    for place in range(12):
        for step in (-STEP, STEP):
            other = found.clone()
            other[:, place] = (other[:, place] + step).clamp(-4 * STEP, 3 * STEP)
            assert (metric.error(other - weight) >= least * (1 - 1e-5)).all()


@pytest.mark.parametrize("block", [1, 5, 64])
def test_refining_does_not_depend_on_the_block(block: int, monkeypatch) -> None:
    weight, metric = problem(13, 4, 40)
    weight = metric.arrange(weight)
    start = compensate(weight, metric, to_grid)
    whole = refine(weight, start, metric, to_grid)
    monkeypatch.setattr(sweep, "BLOCK", block)
    assert torch.equal(refine(weight, start, metric, to_grid), whole)


def test_compensation_leaves_much_less_error_than_rounding() -> None:
    weight, metric = problem(48, 32, 200)
    weight = metric.arrange(weight)
    compensated = metric.error(compensate(weight, metric, to_grid) - weight).sum()
    assert compensated < 0.5 * metric.error(to_grid(weight, 0) - weight).sum()
