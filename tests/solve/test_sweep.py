import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from laconic.core.errors import UsageError
from laconic.solve import InputMetric, compensate, compensate_vectors, in_vectors, refine, refine_vectors, sweep

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


WORDS = torch.tensor([[0.5, -0.5, 0.0], [0.0, 0.5, 0.5], [-0.5, 0.0, -1.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])


def to_word(wanted: torch.Tensor, place: int, pull: torch.Tensor) -> torch.Tensor:
    values = wanted.mT @ pull
    words = WORDS @ pull
    return WORDS[torch.cdist(values, words).argmin(2)].mT


def vector_problem(vectors: int = 60):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, vectors, 12, generator=generator, dtype=torch.float64).cumsum(2)
    moment = x.mT @ x / vectors
    return torch.randn(2, 5, 12, generator=generator), InputMetric.of(moment, order=in_vectors(moment, 3))


def costs(metric: InputMetric, change: torch.Tensor) -> torch.Tensor:
    return torch.einsum("gio,gij,gjo->go", change.double(), metric.moment, change.double())


def test_a_vector_goes_where_it_costs_least_once_all_later_inputs_made_up_for_it() -> None:
    weight, metric = vector_problem()
    arranged = metric.arrange(weight)
    found = compensate_vectors(arranged, metric, to_word, width=3)
    for group, output in ((0, 0), (1, 4)):
        fixed = torch.zeros(0, dtype=torch.float64)
        moment, w = metric.moment[group], arranged[group, :, output].double()
        for _ in range(0, 12, 3):
            trials = [torch.cat((fixed, word.double())) for word in WORDS]
            best = min(trials, key=lambda trial: cost_with_free_rest(moment, w, trial))
            fixed = best
        assert torch.equal(found[group, :, output].double(), fixed)


def cost_with_free_rest(moment: torch.Tensor, w: torch.Tensor, fixed: torch.Tensor) -> float:
    """The least `e H e` with the first weights as given and all others free."""
    n = len(fixed)
    e = w[:n] - fixed
    rest = torch.linalg.solve(moment[n:, n:], -moment[n:, :n] @ e) if n < len(w) else e[:0]
    e = torch.cat((e, rest))
    return float(e @ moment @ e)


def test_vectors_of_one_input_are_inputs() -> None:
    weight, metric = problem(9, 4, 40)
    arranged = metric.arrange(weight)
    one = compensate(arranged, metric, to_grid)
    same = compensate_vectors(arranged, metric, lambda wanted, place, pull: to_grid(wanted, place), width=1)
    assert torch.equal(one, same)
    again = refine_vectors(arranged, one, metric, lambda wanted, place, pull: to_grid(wanted, place), width=1)
    assert torch.equal(again, refine(arranged, one, metric, to_grid))


def test_refining_vectors_ends_where_no_other_word_helps() -> None:
    weight, metric = vector_problem()
    arranged = metric.arrange(weight)
    found = compensate_vectors(arranged, metric, to_word, width=3)
    before = costs(metric, arranged - found)
    for _ in range(30):
        found = refine_vectors(arranged, found, metric, to_word, width=3)
    least = costs(metric, arranged - found)
    assert (least <= before * (1 + 1e-5)).all()
    for place in range(0, 12, 3):
        for word in WORDS:
            other = found.clone()
            other[:, place : place + 3] = word[:, None]
            assert (costs(metric, arranged - other) >= least * (1 - 1e-5)).all()


def test_compensated_vectors_leave_much_less_error_than_nearest_ones() -> None:
    weight, metric = vector_problem()
    arranged = metric.arrange(weight)
    identity = torch.eye(3).expand(2, 3, 3)
    nearest = torch.cat([to_word(arranged[:, p : p + 3], p, identity) for p in range(0, 12, 3)], 1)
    mine = costs(metric, arranged - compensate_vectors(arranged, metric, to_word, width=3)).sum()
    assert mine < 0.6 * costs(metric, arranged - nearest).sum()


def test_a_width_that_does_not_divide_the_inputs_is_refused() -> None:
    with pytest.raises(UsageError, match=r"in_vectors\.width: got 5; expected a number that divides 12 inputs"):
        in_vectors(torch.eye(12)[None].double(), 5)
