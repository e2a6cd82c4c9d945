import torch
from torch import nn

from laconic import distill
from laconic.distill import SameLogits
from laconic.distill.augment import Mixup
from laconic.train import SGD, Training
from train.training_samples import data, plain_network, same_weights, task_of


class Recorded(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model, self.seen = model, []

    def forward(self, x):
        self.seen.append(x.clone())
        return self.model(x)


def test_teacher_and_student_see_the_same_changed_batch():
    teacher, student = Recorded(plain_network(1)), Recorded(plain_network(2))
    batches = data(2)
    distill(teacher, student, task_of(batches), training=Training(steps=2), augment=[Mixup()])
    for (given, _), theirs, ours in zip(batches, teacher.seen, student.seen, strict=True):
        assert torch.equal(theirs, ours) and not torch.equal(given, ours)


def test_a_run_that_is_resumed_draws_the_same(tmp_path):
    def run(work):
        training = Training(steps=6, checkpoint_every=2, optimizer=SGD(learning_rate=0.1))
        options = {"loss": SameLogits(), "training": training, "augment": [Mixup()], "work": work}
        return distill(plain_network(1), plain_network(2), task_of(data(4)), progress=stop, **options)

    def stop(step, total, loss):
        if step == stops_at:
            raise ZeroDivisionError

    stops_at = 5
    try:
        run(tmp_path)
    except ZeroDivisionError:
        stops_at = 0
    assert stops_at == 0 and same_weights(run(tmp_path), run(None))
