import pytest
import torch

from distill.language import Bigram, counting, random_bigram
from laconic.core.errors import UsageError
from laconic.core.task import Batch, Task
from laconic.distill import JensenShannon, Labels, Sampled
from laconic.train import SGD, Training, on_policy, train
from laconic.train.on_policy import written

STARTS = torch.zeros(32, 1, dtype=torch.long)
TASK = Task(train=[STARTS], evaluate=[STARTS])


def trained(steps=200, student=None, **options):
    model = student or counting(4, sure=0.0)
    objective = on_policy(random_bigram(), TASK, Sampled(length=6), **options)
    training = Training(steps=steps, optimizer=SGD(learning_rate=1.0))
    return train(model, TASK, training, objective=objective).model


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_a_student_learns_its_teacher_where_it_goes_itself(beta):
    student = trained(loss=JensenShannon(beta=beta))
    torch.testing.assert_close(student.table.softmax(-1), random_bigram().table.softmax(-1), atol=0.05, rtol=0)


def test_only_what_the_student_writes_is_compared():
    # A student that never leaves 0 is corrected at 0 alone.
    table = torch.zeros(4, 4)
    table[0, 0] = 40.0
    stays = trained(steps=1, student=Bigram(table))
    assert not torch.equal(stays.table[0], table[0])
    torch.testing.assert_close(stays.table[1:], table[1:])


def test_sequences_of_the_teacher_teach_words_as_labels():
    objective = on_policy(counting(), TASK, Sampled(length=4), author="teacher", loss=Labels())
    student = train(
        counting(5, sure=0.0), TASK, Training(steps=30, optimizer=SGD(learning_rate=4.0)), objective=objective
    )
    assert student.model.table.argmax(1).tolist() == [1, 2, 3, 4, 0]


def test_a_share_of_zero_takes_the_batches_as_they_are():
    ids = torch.tensor([[0, 1, 2, 3]])
    task = Task(train=[{"input_ids": ids, "labels": torch.tensor([[-100, 2, 3, -100]])}], evaluate=[ids])
    objective = on_policy(random_bigram(), task, Sampled(length=4), share=0.0)
    student = train(
        counting(4, sure=0.0), task, Training(steps=1, optimizer=SGD(learning_rate=1.0)), objective=objective
    )
    changed = student.model.table.abs().sum(1) > 0
    assert changed.tolist() == [False, True, True, False]


def test_a_run_that_is_resumed_writes_the_same_sequences(tmp_path):
    def run(steps_before=None):
        objective = on_policy(random_bigram(), TASK, Sampled(length=3), share=0.5)
        training = Training(steps=6, checkpoint_every=1, optimizer=SGD(learning_rate=1.0))

        def stop(step, total, loss):
            if step == steps_before:
                raise ZeroDivisionError

        return train(counting(4), TASK, training, objective=objective, work=tmp_path / "run", progress=stop).model

    with pytest.raises(ZeroDivisionError):
        run(steps_before=3)
    resumed = run().table.detach().clone()
    (tmp_path / "run" / "checkpoint.safetensors").unlink()
    assert torch.equal(run().table, resumed)


def test_writing_leaves_the_modes_of_the_model_and_no_graph():
    model = counting().train()
    batch = written(model, Batch(args=(STARTS,)), Sampled(length=2), TASK)
    assert model.training and not batch.args[0].requires_grad and batch.labels.shape == (32, 3)


def test_arguments_outside_their_domain_are_refused():
    for wrong, said in (({"share": 1.5}, "on_policy.share"), ({"author": "me"}, "on_policy.author")):
        with pytest.raises(UsageError, match=said):
            on_policy(counting(), TASK, Sampled(), **wrong)
