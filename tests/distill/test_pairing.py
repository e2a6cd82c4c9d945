from itertools import accumulate, pairwise

import pytest
import torch
from torch import nn

from graph.shallow import IDS, IMAGES, ResNet, Transformer
from laconic import distill
from laconic.core.errors import UsageError
from laconic.core.task import Task
from laconic.distill import AttendedLayers, AttentionTransfer, Labels, SameLogits, pair_layers
from laconic.distill.layers import Layer
from laconic.distill.pairing import by_depth
from laconic.train import SGD, AdamW, Training


def task_of(x, outputs):
    labels = torch.arange(len(x)) % outputs
    return Task(train=[(x, labels)], evaluate=[(x, labels)])


TOKENS = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))


LABELS = torch.arange(10).reshape(2, 5) % 3
TAGGING = Task(train=[(TOKENS, LABELS)], evaluate=[(TOKENS, LABELS)])


def blocks(depth, width=4, inputs=4):
    widths = [inputs] + [width] * depth
    return nn.Sequential(*[nn.Sequential(nn.Linear(a, b), nn.ReLU()) for a, b in pairwise(widths)], nn.Linear(width, 3))


class Recurrent(nn.Module):
    """Two layers of the other kind, which stand in no row."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(20, 4)
        self.low, self.high = Wrapped(4, 3), Wrapped(3, 3)
        self.head = nn.Linear(3, 3)

    def forward(self, ids):
        return self.head(self.high(self.low(self.embed(ids))).mean(1))


class Wrapped(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.inner = nn.GRU(inputs, outputs, batch_first=True)

    def forward(self, x):
        return self.inner(x)[0]


class Mixing(nn.Module):
    def __init__(self):
        super().__init__()
        self.query, self.key = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        return (self.query(x) @ self.key(x).mT).softmax(-1) @ x


class Moody(nn.Sequential):
    """A graph cannot tell what it computes: that depends on the data."""

    def forward(self, x):
        return super().forward(x if float(x.sum()) > 0 else -x)


def found(matches):
    return [(match.teacher, match.student, match.projection) for match in matches]


def test_layers_are_paired_at_the_same_depth_up_to_the_last():
    matches = pair_layers(blocks(6), blocks(2), task_of(TOKENS, 3))
    assert found(matches) == [("2", "0", None), ("5", "1", None)]


@pytest.mark.parametrize(
    ("theirs", "ours", "expected"),
    [
        ((1, 1, 1, 1), (1, 1, 1), [(0, 0), (2, 1), (3, 2)]),  # 1/3, 2/3, 1 are near 1/4, 3/4, 1.
        ((1,), (1, 1, 1), [(0, 2)]),
        ((3, 1, 1, 1), (1, 1), [(0, 0), (3, 1)]),  # What was computed counts, not how many modules there were.
        ((1, 1), (1,), [(1, 0)]),
        ((), (1, 1), []),
    ],
)
def test_depths_differ_least_in_all_and_each_layer_is_used_once(theirs, ours, expected):
    def row(sizes):
        ends = [0, *accumulate(sizes)]
        return [Layer(path=str(i), shape=(2, 5, 4), begin=a, end=b) for i, (a, b) in enumerate(pairwise(ends))]

    assert [(int(one.path), int(other.path)) for one, other in by_depth(row(theirs), row(ours))] == expected


def test_another_architecture_without_rows_is_paired_by_depth_where_it_has_another_kind():
    matches = pair_layers(Transformer(depth=2), Recurrent(), task_of(IDS, 3))
    assert found(matches) == [("layers.0", "low", "linear"), ("layers.1", "high", "linear")]


def test_layers_that_compute_the_same_kind_of_thing_come_first():
    product = [nn.Sequential(nn.Linear(4, 4), nn.ReLU()) for _ in range(3)]
    teacher = nn.Sequential(product[0], Mixing(), product[1], product[2])
    student = nn.Sequential(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), Mixing())
    assert found(pair_layers(teacher, student, task_of(TOKENS, 3))) == [("3", "0", None), ("1", "1", None)]


def test_a_model_that_cannot_be_captured_is_paired_by_its_modules_and_says_so():
    x = torch.ones(2, 5, 4)
    moody = Moody(*blocks(4))
    with pytest.warns(UserWarning, match=r"paired by their modules alone.*Moody"):
        matches = pair_layers(moody, blocks(2), task_of(x, 3))
    assert found(matches) == [("1", "0", None), ("3", "1", None)]


def test_widths_that_differ_are_joined_by_projections():
    matches = pair_layers(blocks(2, width=8), blocks(2), task_of(TOKENS, 3))
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
        teacher, student = blocks(4), blocks(2)
        training = Training(steps=3, optimizer=SGD(learning_rate=0.1))
        return distill(teacher, student, TAGGING, loss=Labels(), match=match, training=training)

    written = pair_layers(blocks(4), blocks(2), TAGGING)
    one, other, none = trained("auto"), trained(written), trained([])
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert not torch.equal(one[0][0].weight, none[0][0].weight)


def test_models_are_left_as_they_were():
    teacher, student = blocks(2).train(), blocks(2).eval()
    pair_layers(teacher, student, task_of(TOKENS, 3))
    assert teacher.training and not student.training
    assert not any(module._forward_hooks for model in (teacher, student) for module in model.modules())


def test_models_that_have_nothing_in_common_are_refused_with_what_they_have():
    student = nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
    with pytest.raises(UsageError, match=r"no layers of teacher and student are of one form.*body\.0.*Write Match"):
        pair_layers(ResNet(), student, task_of(IMAGES, 4))
    with pytest.raises(UsageError, match="match: got 'all'"):
        distill(ResNet(), ResNet(), task_of(IMAGES, 4), match="all")


def test_a_learned_pairing_names_every_layer_that_can_be_joined():
    matches = pair_layers(blocks(4, width=8), blocks(2), task_of(TOKENS, 3), learned=True)
    every = ("0", "1", "2", "3")
    assert found(matches) == [(every, "0", "linear"), (every, "1", "linear")]
    assert all(match.loss == AttendedLayers(channel_axis=-1) and match.weight == 0.5 for match in matches)
    images = pair_layers(ResNet(), ResNet(), task_of(IMAGES, 4), learned=True)
    assert {len(match.teachers) for match in images} == {4} and images[0].loss == AttendedLayers()


def test_a_learned_pairing_finds_the_layer_that_is_like_the_student_s_and_is_told(caplog):
    torch.manual_seed(0)
    teacher, student = blocks(3), blocks(1)
    student[0][0].load_state_dict(teacher[0][0].state_dict())
    student[0].requires_grad_(False)
    steps, training = [], Training(steps=80, optimizer=AdamW(learning_rate=0.01))
    with caplog.at_level("INFO", logger="laconic"):
        distill(
            teacher, student, TAGGING, loss=SameLogits(), match="learned", training=training, callbacks=[steps.append]
        )
    shares = steps[-1].pairing["0"]
    assert sum(shares.values()) == pytest.approx(1, abs=1e-5)
    assert shares["0"] > 0.5 and set(shares) == {"0", "1", "2"}
    assert caplog.messages[-1].startswith("0 has learned from 0 (")
