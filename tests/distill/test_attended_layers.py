import pytest
import torch
from distill_samples import randn

from laconic.core.errors import UsageError
from laconic.distill import AttendedLayers, Match, Pair, SameFeatures


def three(student: torch.Tensor, *teachers: torch.Tensor, mask: torch.Tensor | None = None) -> Pair:
    pair = None
    for teacher in reversed(teachers):
        pair = Pair(student=student, teacher=teacher, mask=mask, following=pair)
    return pair


def test_the_loss_is_the_attention_times_the_relative_errors() -> None:
    student, teachers = randn(4, 5), [randn(4, 5, seed=seed, scale=seed) for seed in (1, 2, 3)]
    pair = three(student, *teachers)
    module = AttendedLayers(dimension=3).module(pair)
    expected, unit = 0.0, lambda x: x / x.norm()
    for i in range(4):
        scores = [
            float((q(unit(student[i])) @ k(unit(t[i]))).detach()) / 3**0.5
            for q, k, t in zip(module.queries, module.keys, teachers, strict=True)
        ]
        attention = torch.tensor(scores).softmax(0)
        errors = [((student[i] - t[i]) ** 2).mean() / (t**2).mean() for t in teachers]
        expected += float(sum(a * e for a, e in zip(attention, errors, strict=True))) / 4
    assert module(pair).item() == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(module.attention(pair).sum(1), torch.ones(4))


def test_what_was_learned_from_is_the_mean_attention_of_the_steps_so_far() -> None:
    module = AttendedLayers(dimension=3).module(three(randn(4, 5), randn(4, 5, seed=1), randn(4, 5, seed=2)))
    steps = [three(randn(4, 5, seed=i), randn(4, 5, seed=i + 9), randn(4, 5, seed=i + 19)) for i in range(3)]
    with torch.no_grad():
        module(steps[0])
    torch.testing.assert_close(module.shares, torch.tensor([0.5, 0.5]))
    for pair in steps:
        module(pair)
    expected = torch.stack([module.attention(pair).mean(0) for pair in steps]).mean(0)
    torch.testing.assert_close(module.shares, expected)


def test_of_one_layer_it_is_the_squared_error_over_the_mean_square() -> None:
    pair = Pair(student=randn(4, 3, 2, 2), teacher=randn(4, 3, 2, 2, seed=1))
    expected = SameFeatures().distance(pair) / pair.teacher.square().mean()
    torch.testing.assert_close(AttendedLayers().module(pair)(pair), expected)


def test_positions_that_do_not_count_change_nothing() -> None:
    mask = torch.tensor([[True, True, False], [True, False, False]])
    student, teachers = randn(2, 3, 4), [randn(2, 3, 4, seed=1), randn(2, 3, 4, seed=2)]
    pair = three(student, *teachers, mask=mask)
    module = AttendedLayers(dimension=3, channel_axis=-1).module(pair)
    for tensor in (student, *teachers):
        tensor[~mask] += 100
    changed = three(student, *teachers, mask=mask)
    torch.testing.assert_close(module(pair), module(changed))


def test_it_learns_to_listen_to_the_layer_that_can_be_followed() -> None:
    torch.manual_seed(0)
    student, noise = randn(64, 4, scale=1.0), randn(64, 4, seed=9, scale=1.0)
    pair = three(student, noise, student)
    module = AttendedLayers(dimension=8).module(pair)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.15)
    for _ in range(20):
        optimizer.zero_grad()
        module(pair).backward()
        optimizer.step()
    assert module.attention(pair)[:, 1].mean() > 0.9


def test_what_it_cannot_compare_is_refused() -> None:
    with pytest.raises(UsageError, match="one layer of the student and any number of the teacher"):
        Match(teacher=("0", "1"), student=("0", "1"), loss=AttendedLayers())
    with pytest.raises(UsageError, match="one layer of each, as SameFeatures takes them"):
        Match(teacher=("0", "1"), student="0", loss=SameFeatures())
    with pytest.raises(UsageError, match=r"AttendedLayers\.dimension: got 0"):
        AttendedLayers(dimension=0)
