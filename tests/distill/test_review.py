import pytest
import torch
from distill_samples import randn
from torch import nn

from laconic.core.errors import UsageError
from laconic.core.task import Task
from laconic.distill import HierarchicalContext, Labels, Match, Pair, Review
from laconic.train import AdamW, Training, distill


def chain(*sizes: tuple[tuple[int, int], tuple[int, int]]) -> Pair:
    """Layers from first to last, each given as channels and side of student and teacher."""
    pair = None
    for seed, ((channels, side), (their_channels, their_side)) in reversed(list(enumerate(sizes))):
        student, teacher = randn(4, channels, side, side, seed=seed), randn(4, their_channels, their_side, their_side)
        pair = Pair(student=student, teacher=teacher, following=pair)
    return pair


def test_the_loss_is_the_sum_over_layers_of_what_is_handed_up_from_the_deepest() -> None:
    pair = chain(((2, 4), (5, 4)), ((3, 2), (6, 2)))
    module = Review(width=4).module(pair)
    early, late = module.steps
    known = late.taken(pair.following.student)
    expected = HierarchicalContext().distance(Pair(student=late.told(known), teacher=pair.following.teacher))
    own = early.taken(pair.student)
    enlarged = known.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    attention = early.attention[0](torch.cat([own, enlarged], dim=1)).sigmoid()
    fused = attention[:, :1] * own + attention[:, 1:] * enlarged
    expected = expected + HierarchicalContext().distance(Pair(student=early.told(fused), teacher=pair.teacher))
    torch.testing.assert_close(module(pair), expected)


def test_of_one_layer_it_is_the_hierarchical_context_after_a_projection() -> None:
    pair = chain(((2, 4), (5, 4)))
    module = Review().module(pair)
    (step,) = module.steps
    told = step.told(step.taken(pair.student))
    assert module(pair) == HierarchicalContext().distance(Pair(student=told, teacher=pair.teacher))
    assert step.taken[0].out_channels == 2


def test_the_deepest_layer_of_the_student_is_taught_by_the_first_of_the_teacher() -> None:
    pair = chain(((2, 4), (5, 4)), ((3, 2), (6, 2)))
    deep = pair.following.student.requires_grad_()
    module = Review(width=4).module(pair)
    late = Pair(student=deep, teacher=module.steps[1](deep, None, deep.shape[2:])[1].detach())  # No error of its own.
    module(Pair(student=pair.student, teacher=pair.teacher, following=late)).backward()
    assert deep.grad.abs().max() > 0


@pytest.mark.parametrize("sides", [((8, 4), (4, 2)), ((4, 8), (2, 4)), ((7, 5), (3, 3))])
def test_layers_of_any_size_are_joined(sides: tuple[tuple[int, int], tuple[int, int]]) -> None:
    pair = chain(*(((2, ours), (3, theirs)) for ours, theirs in sides))
    assert Review().module(pair)(pair).isfinite()


def test_a_student_learns_by_it() -> None:
    def network(width: int, seed: int) -> nn.Module:
        torch.manual_seed(seed)
        layers = [nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 2 * width, 3, stride=2), nn.Flatten()]
        return nn.Sequential(*layers, nn.Linear(8 * width, 2))

    x, losses = randn(8, 1, 5, 5), []
    task = Task(train=[(x, torch.zeros(8, dtype=torch.long))], evaluate=[x])
    match = Match(teacher=("0", "2"), student=("0", "2"), loss=Review())
    assert str(match) == "Review 0, 2 -> 0, 2"
    training = Training(steps=12, optimizer=AdamW(learning_rate=0.05))
    distill(
        network(4, 0), network(2, 1), task, loss=Labels(), match=[match], training=training,
        progress=lambda step, total, loss: losses.append(loss),
    )  # fmt: skip
    assert losses[-1] < 0.8 * losses[0]


def test_what_it_cannot_compare_is_refused() -> None:
    with pytest.raises(UsageError, match=r"Review: got features \[4, 3\].*expected images"):
        Review().module(Pair(student=randn(4, 3), teacher=randn(4, 3)))
    with pytest.raises(UsageError, match="as many layers of each, from first to last, as Review takes them"):
        Match(teacher=("0", "1", "2"), student=("0", "1"), loss=Review())
    with pytest.raises(UsageError, match=r"Review\.width: got 0"):
        Review(width=0)


def test_a_last_batch_of_one_sample_with_one_pixel_goes_by_what_is_remembered() -> None:
    many = Pair(student=randn(8, 3, 1, 1), teacher=randn(8, 5, 1, 1, seed=1))
    module = Review().module(many)
    module(many)
    one = Pair(student=many.student[:1], teacher=many.teacher[:1])
    found = module(one)
    torch.testing.assert_close(found, module.eval()(one))
