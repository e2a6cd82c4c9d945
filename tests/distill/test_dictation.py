import torch
from language import counting

from laconic.core.task import Task
from laconic.distill import Beams, Labels, Sampled, dictation
from laconic.train import SGD, Training, distill


def test_the_teacher_s_words_follow_the_prompts_and_are_the_labels():
    prompts = torch.tensor([[0, 1], [2, 3]])
    (batch,) = dictation(counting(), Task(train=[prompts], evaluate=[prompts]), Beams(length=2, beams=2))
    assert batch.args[0].tolist() == [[0, 1, 2, 3], [2, 3, 4, 0]]
    assert batch.labels.tolist() == [[-100, 2, 3, -100], [-100, 4, 0, -100]]


def test_given_answers_are_replaced_by_the_teacher_s():
    batch = {"input_ids": torch.tensor([[0, 1, 4, 4]]), "labels": torch.tensor([[-100, 4, 4, -100]])}
    (found,) = dictation(counting(), Task(train=[batch], evaluate=[batch]), Beams(length=2))
    assert found.kwargs["input_ids"].tolist() == [[0, 1, 2, 3]]


def test_a_teacher_writes_freely_from_the_first_token_and_is_left_as_it_was():
    teacher = counting().train()
    starts = [torch.zeros(3, 1, dtype=torch.long)] * 2
    found = dictation(teacher, Task(train=starts, evaluate=starts), Sampled(length=4), samples=5)
    assert [batch.args[0].shape for batch in found] == [(3, 5), (2, 5)]
    assert teacher.training


def test_a_student_that_learns_from_dictation_says_what_its_teacher_says():
    prompts = torch.arange(5)[:, None]
    task = Task(train=[prompts], evaluate=[prompts])
    written = Task(train=dictation(counting(), task, Beams(length=2)), evaluate=[prompts])
    student = counting(sure=0.0)
    distill(counting(), student, written, loss=Labels(), training=Training(steps=20, optimizer=SGD(learning_rate=5.0)))
    assert student.table.argmax(1).tolist() == [1, 2, 3, 4, 0]
