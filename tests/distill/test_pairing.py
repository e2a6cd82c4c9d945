import pytest
import torch
from torch import nn

from graph.shallow import IDS, IMAGES, ResNet, Transformer
from laconic import distill
from laconic.core.errors import UsageError
from laconic.core.task import Task
from laconic.distill import AttendedLayers, AttentionTransfer, Labels, Match, pair_layers
from laconic.train import SGD, Training


def task_of(x, outputs):
    labels = torch.arange(len(x)) % outputs
    return Task(train=[(x, labels)], evaluate=[(x, labels)])


def found(matches):
    return [(match.teacher, match.student, match.projection) for match in matches]


def test_layers_are_paired_at_the_same_depth_up_to_the_last():
    matches = pair_layers(Transformer(depth=6), Transformer(depth=2), task_of(IDS, 3))
    assert found(matches) == [("layers.2", "layers.0", None), ("layers.5", "layers.1", None)]
    three = pair_layers(Transformer(depth=4), Transformer(depth=3), task_of(IDS, 3))
    assert [match.teacher for match in three] == ["layers.1", "layers.2", "layers.3"]


def test_widths_that_differ_are_joined_by_projections():
    matches = pair_layers(Transformer(width=8), Transformer(width=4), task_of(IDS, 3))
    assert [projection for *_, projection in found(matches)] == ["linear", "linear"]


def test_images_are_paired_where_they_have_the_same_size():
    student = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.ReLU()),
        nn.Sequential(nn.Conv2d(5, 12, 3, stride=2, padding=1), nn.ReLU()),
        nn.Sequential(nn.Flatten(), nn.LazyLinear(4)),
    )
    student(IMAGES)
    matches = pair_layers(ResNet(), student, task_of(IMAGES, 4), loss=AttentionTransfer(), weight=3.0)
    assert found(matches) == [("body.1", "0", "conv"), ("body.3", "1", None)]
    assert all(match.weight == 1.5 and match.balance and match.loss == AttentionTransfer() for match in matches)


def test_models_without_blocks_are_paired_by_their_layers():
    teacher = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3))
    student = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
    x = torch.randn(4, 6)
    assert found(pair_layers(teacher, student, task_of(x, 3))) == [("2", "0", "linear"), ("4", "2", None)]


def test_auto_in_one_call_trains_like_the_matches_written_out():
    def trained(match):
        torch.manual_seed(0)
        teacher, student = Transformer(depth=4), Transformer(depth=2)
        training = Training(steps=3, optimizer=SGD(learning_rate=0.1))
        return distill(teacher, student, task_of(IDS, 3), loss=Labels(), match=match, training=training)

    torch.manual_seed(0)
    written = pair_layers(Transformer(depth=4), Transformer(depth=2), task_of(IDS, 3))
    one, other, none = trained("auto"), trained(written), trained([])
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert not torch.equal(one.layers[0].mlp[0].weight, none.layers[0].mlp[0].weight)


def test_models_are_left_as_they_were():
    teacher, student = Transformer().train(), Transformer().eval()
    pair_layers(teacher, student, task_of(IDS, 3))
    assert teacher.training and not student.training
    assert not any(module._forward_hooks for model in (teacher, student) for module in model.modules())


def test_models_that_have_nothing_in_common_are_refused_with_what_they_have():
    student = nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
    with pytest.raises(UsageError, match=r"no layers of teacher and student are of one kind.*body\.0.*Write Match"):
        pair_layers(ResNet(), student, task_of(IMAGES, 4))
    with pytest.raises(UsageError, match="match: got 'all'"):
        distill(ResNet(), ResNet(), task_of(IMAGES, 4), match="all")
    assert isinstance(pair_layers(ResNet(), ResNet(), task_of(IMAGES, 4))[0], Match)


def test_a_learned_pairing_names_every_layer_that_can_be_joined():
    matches = pair_layers(Transformer(depth=4, width=8), Transformer(depth=2, width=4), task_of(IDS, 3), learned=True)
    every = tuple(f"layers.{i}" for i in range(4))
    assert found(matches) == [(every, "layers.0", "linear"), (every, "layers.1", "linear")]
    assert all(match.loss == AttendedLayers(channel_axis=-1) and match.weight == 0.5 for match in matches)
    images = pair_layers(ResNet(), ResNet(), task_of(IMAGES, 4), learned=True)
    assert {len(match.teachers) for match in images} == {4} and images[0].loss == AttendedLayers()


def test_a_learned_pairing_trains_in_one_call():
    def trained(match):
        torch.manual_seed(0)
        teacher, student = ResNet(), ResNet()
        training = Training(steps=2, optimizer=SGD(learning_rate=0.1))
        return distill(teacher, student, task_of(IMAGES, 4), loss=Labels(), match=match, training=training)

    one, other = trained("learned"), trained([])
    assert not torch.equal(next(one.body.parameters()), next(other.body.parameters()))
