"""Which weights stay when the others go."""

import torch

from laconic.solve import InputMetric
from laconic.solve.support import alternate, prune_in_order


def problem(inputs: int = 8, outputs: int = 4, groups: int = 1) -> tuple[torch.Tensor, InputMetric]:
    x = torch.randn(groups, 50, inputs, dtype=torch.float64) @ torch.randn(inputs, inputs, dtype=torch.float64)
    metric = InputMetric.of(x.mT @ x)
    return torch.randn(groups, inputs, outputs), metric


def brain_surgery(weight: torch.Tensor, moment: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """Hassibi and Stork's update for one output, input after input, with the inverse of what is left."""
    weight, left = weight.double().clone(), list(range(len(weight)))
    while left:
        inverse = torch.linalg.inv(moment[left][:, left])
        if not kept[left[0]]:
            weight[left] -= weight[left[0]] / inverse[0, 0] * inverse[0]
        left = left[1:]
    return weight * kept


def test_what_stays_is_where_brain_surgery_puts_it() -> None:
    weight, metric = problem(groups=2)
    mask = torch.rand(2, 4, 8) < 0.6
    place = iter(range(0, 8, 3))

    def choose(scores: torch.Tensor, count: int) -> torch.Tensor:
        start = next(place)
        return mask[:, :, start : start + count]

    found, kept = prune_in_order(weight, metric, choose, width=3)
    assert torch.equal(kept, mask.mT)
    for group in range(2):
        for output in range(4):
            expected = brain_surgery(weight[group, :, output], metric.moment[group], kept[group, :, output])
            torch.testing.assert_close(found[group, :, output].double(), expected, rtol=1e-4, atol=1e-4)


def test_scores_are_what_a_removal_costs_once_all_later_ones_made_up_for_it() -> None:
    weight, metric = problem()
    seen = []

    def choose(scores: torch.Tensor, count: int) -> torch.Tensor:
        seen.append(scores)
        return torch.ones(1, 4, count, dtype=torch.bool)

    prune_in_order(weight, metric, choose, width=8)
    for place in range(8):
        inverse = torch.linalg.inv(metric.moment[0, place:, place:])
        expected = weight[0, place].double().square() / inverse[0, 0]
        torch.testing.assert_close(seen[0][0, :, place].double(), expected, rtol=1e-4, atol=1e-6)


def test_scores_of_columns_that_go_together_sum_to_what_all_of_them_cost() -> None:
    weight, metric = problem()
    seen = []

    def choose(scores: torch.Tensor, count: int) -> torch.Tensor:
        seen.append(scores[0].double())
        return torch.ones(1, 4, count, dtype=torch.bool)

    prune_in_order(weight, metric, choose, width=3, unit=3)
    for start, stop in ((0, 3), (3, 6), (6, 8)):
        given = weight[0, start:stop].double()
        schur = torch.linalg.inv(torch.linalg.inv(metric.moment[0, start:, start:])[: stop - start, : stop - start])
        expected = ((schur @ given) * given).sum(0)
        torch.testing.assert_close(seen[0][:, start:stop].sum(1), expected, rtol=1e-4, atol=1e-6)


def smallest(scores: torch.Tensor, removed: int) -> torch.Tensor:
    kept = torch.ones_like(scores.flatten(), dtype=torch.bool)
    kept[scores.flatten().argsort(stable=True)[:removed]] = False
    return kept.view_as(scores)


def error(weight: torch.Tensor, kept: torch.Tensor, metric: InputMetric) -> float:
    """Of the best weights inside a mask, in float64."""
    total, H = 0.0, metric.moment[0]
    for output in range(weight.shape[2]):
        keep, w = kept[0, :, output], weight[0, :, output].double()
        best = torch.zeros_like(w)
        best[keep] = torch.linalg.solve(H[keep][:, keep], (H @ w)[keep])
        total += float((best - w) @ H @ (best - w))
    return total


def test_alternation_finds_better_places_than_each_weight_by_itself() -> None:
    gains = []
    for _ in range(10):
        weight, metric = problem(inputs=24, outputs=6)
        kept = alternate(weight, metric.single, lambda s: smallest(s, 100))
        alone = smallest((weight.square() * metric.single.diagonal(dim1=1, dim2=2)[:, :, None]).mT, 100).mT
        assert int(kept.sum()) == 24 * 6 - 100
        gains.append(error(weight, alone, metric) / error(weight, kept, metric))
    assert min(gains) > 1
    assert sorted(gains)[5] > 1.5


def test_with_a_diagonal_moment_alternation_keeps_what_weighs_most() -> None:
    weight = torch.randn(1, 9, 4)
    moment = torch.diag(torch.rand(9) + 0.1)[None]
    expected = smallest((weight.square() * moment.diagonal(dim1=1, dim2=2)[:, :, None]).mT, 20).mT
    assert torch.equal(alternate(weight, moment, lambda s: smallest(s, 20)), expected)
