import pytest
import torch
from distill_samples import randn
from torch import nn

from laconic.core.errors import UsageError
from laconic.core.task import Task
from laconic.distill import Flow, Gram, Labels, Match, Pair
from laconic.train import SGD, Training, distill


def flow(first, second):
    """The paper's equation 1, position by position."""
    n, c, height, width = first.shape
    found = torch.zeros(n, c, second.shape[1], dtype=torch.float64)
    for i in range(height):
        for j in range(width):
            found += first[:, :, i, j, None].double() * second[:, None, :, i, j].double() / (height * width)
    return found


def distance(student, teacher):
    second = Pair(student=student[1], teacher=teacher[1])
    return Flow().distance(Pair(student=student[0], teacher=teacher[0], following=second))


def test_the_distance_is_that_of_the_paper_s_matrices():
    student, teacher = (randn(2, 3, 4, 5), randn(2, 2, 4, 5, seed=1)), (randn(2, 3, 6, 6, seed=2), randn(2, 2, 6, 6))
    expected = (flow(*student) - flow(*teacher)).square().mean()
    torch.testing.assert_close(distance(student, teacher).double(), expected, rtol=1e-5, atol=1e-5)


def test_images_of_different_sizes_are_pooled_by_their_maximum():
    large = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    small = torch.tensor([[[[2.0]]]])
    zero = torch.zeros(1, 1, 1, 1)
    assert distance((large, small), (zero, zero)) == (4 * 2) ** 2


def test_a_layer_with_itself_is_a_gram_matrix():
    pair = Pair(student=randn(2, 3, 4), teacher=randn(2, 3, 4, seed=1))
    torch.testing.assert_close(Flow().distance(pair), Gram().distance(pair))


def test_layers_of_tokens_have_their_channels_last():
    first, second = randn(2, 5, 3), randn(2, 5, 4, seed=1)
    pair = Pair(student=first, teacher=0 * first, following=Pair(student=second, teacher=0 * second))
    expected = (torch.einsum("npc,npk->nck", first, second) / 5).square().mean()
    torch.testing.assert_close(Flow(channel_axis=-1).distance(pair), expected)


def test_features_that_do_not_fit_are_refused():
    with pytest.raises(UsageError, match="as many channels"):
        distance((randn(2, 3, 4, 4), randn(2, 2, 4, 4)), (randn(2, 5, 4, 4), randn(2, 2, 4, 4)))
    with pytest.raises(UsageError, match="as many positions"):
        distance((randn(2, 3, 4), randn(2, 3, 5)), (randn(2, 3, 4), randn(2, 3, 4)))
    with pytest.raises(UsageError, match="or two layers of each"):
        Match(teacher=("0", "1"), student="0", loss=Flow())


def network(width, seed):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, width, 3), nn.ReLU(), nn.Conv2d(width, width + 1, 3), nn.Flatten(), nn.LazyLinear(2)
    )


def test_two_layers_of_each_are_matched_through_projections_that_are_trained():
    x = randn(8, 1, 6, 6)
    task = Task(train=[(x, torch.zeros(8, dtype=torch.long))], evaluate=[x])
    teacher, student = network(4, 0), network(2, 1)
    teacher(x), student(x)
    match = Match(teacher=("0", "2"), student=("0", "2"), loss=Flow(), projection="conv")
    assert str(match) == "Flow 0, 2 -> 0, 2"
    losses = []
    training = Training(steps=40, optimizer=SGD(learning_rate=0.01))
    distill(
        teacher, student, task, loss=Labels(), match=[match], training=training,
        progress=lambda step, total, loss: losses.append(loss),
    )  # fmt: skip
    assert losses[-1] < 0.5 * losses[0]
