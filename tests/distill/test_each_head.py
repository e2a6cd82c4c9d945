import pytest
import torch
from distill_samples import randn
from torch import nn

from laconic.core.errors import DataError, ModelError, UsageError
from laconic.core.task import Task
from laconic.distill import EachHead, Labels, Lesson, SameLogits, SoftLabels, Sum, reading
from laconic.train import SGD, Training, distill


def test_the_loss_is_the_mean_over_heads_and_labels_are_those_of_each() -> None:
    student, teacher, labels = randn(4, 5), randn(4, 5, seed=1), torch.tensor([[0, 1], [1, -100], [0, 2], [-100, 0]])
    inner = SoftLabels(temperature=2, hard_weight=0.25)
    found = EachHead(loss=inner, sizes=(2, 3)).terms(Lesson(student=student, teacher=teacher, labels=labels))
    parts = [
        inner.terms(Lesson(student=student[:, cut], teacher=teacher[:, cut], labels=labels[:, i]))
        for i, cut in enumerate((slice(0, 2), slice(2, 5)))
    ]
    assert set(found) == {"soft labels", "labels"}
    for name, term in found.items():
        torch.testing.assert_close(term, (parts[0][name] + parts[1][name]) / 2)


def test_a_single_head_is_the_loss_itself() -> None:
    lesson = Lesson(student=randn(4, 5), teacher=randn(4, 5, seed=1))
    assert EachHead(loss=SameLogits(), sizes=(5,)).terms(lesson) == SameLogits().terms(lesson)


class Spans(nn.Module):
    """Says where a span begins and where it ends."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embed, self.ends = nn.Embedding(9, 8), nn.Linear(8, 2)

    def forward(self, ids: torch.Tensor) -> dict[str, torch.Tensor]:
        start, end = self.ends(self.embed(ids)).unbind(-1)
        return {"start_logits": start, "end_logits": end}


def test_spans_are_taught_start_and_end_in_one_call() -> None:
    ids, losses = torch.randint(9, (6, 7), generator=torch.Generator().manual_seed(0)), []
    spans = torch.tensor([[1, 3], [0, 0], [2, 6], [-100, -100], [4, 5], [1, 1]])
    task = Task(train=[(ids, spans)], evaluate=[(ids, spans)], logits=reading("start_logits", "end_logits"))
    teacher, student = Spans(1), Spans(2)
    # By hand: the mean over both ends of the five samples that count.
    soft = [
        nn.functional.kl_div((s / 2).log_softmax(-1), (t / 2).softmax(-1), reduction="none").sum(-1)[[0, 1, 2, 4, 5]]
        for s, t in zip(student(ids).values(), teacher(ids).values(), strict=True)
    ]
    expected = 4 * (soft[0].mean() + soft[1].mean()) / 2
    training = Training(steps=25, optimizer=SGD(learning_rate=0.5))
    distill(
        teacher, student, task, loss=SoftLabels(temperature=2), training=training,
        progress=lambda step, total, loss: losses.append(loss),
    )  # fmt: skip
    assert losses[0] == pytest.approx(expected.item(), rel=1e-5)
    assert losses[-1] < 0.5 * losses[0]


def test_what_does_not_fit_is_refused() -> None:
    loss = EachHead(loss=Sum(losses=(Labels(), SoftLabels())), sizes=(2, 3))
    with pytest.raises(ModelError, match=r"EachHead\.sizes: got \(2, 3\) for 4 logits"):
        loss.terms(Lesson(student=randn(2, 4), teacher=randn(2, 4)))
    with pytest.raises(DataError, match=r"got labels \[2\] for logits \[2, 5\]; expected \[2, 2\]"):
        loss.terms(Lesson(student=randn(2, 5), teacher=randn(2, 5), labels=torch.tensor([0, 1])))
    with pytest.raises(UsageError, match=r"EachHead\.sizes: got \(\)"):
        EachHead(loss=SoftLabels(), sizes=())
    with pytest.raises(DataError, match="has no tensor 'end_logits'"):
        reading("start_logits", "end_logits")({"start_logits": randn(2, 3)})
