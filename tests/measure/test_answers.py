import numpy as np
import pytest
import torch
from torch import nn

from laconic.core.errors import DataError, ModelError, UsageError
from laconic.core.task import Batch, Task
from laconic.measure import Answer, Kept, TorchRunner, answers
from laconic.measure.answers import pairs


class Scripted:
    """A runner of another runtime: says whatever it was told to."""

    name = "toy runtime"

    def __init__(self, say):
        self.say = say

    def run(self, inputs):
        return self.say(inputs)


def batches(count=3, samples=4):
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(samples, 2, generator=generator), torch.arange(samples) % 2) for _ in range(count)]


def test_every_batch_is_answered_in_order():
    data = batches()
    model = nn.Linear(2, 3)
    task = Task(evaluate=data)
    found = list(answers(TorchRunner(model, task), task))
    for answer, (x, y) in zip(found, data, strict=True):
        torch.testing.assert_close(answer.logits, model(x))
        assert torch.equal(answer.labels, y)


@pytest.mark.parametrize(("most_bytes", "times"), [(2**20, 1), (100, 2)])
def test_answers_that_fit_in_memory_are_computed_once_for_all_readers(most_bytes, times):
    task, asked = Task(evaluate=batches()), []
    runner = Scripted(lambda inputs: asked.append(1) or inputs[0])
    kept = Kept(lambda: answers(runner, task), most_bytes=most_bytes)
    first, second = ([answer.logits for answer in kept] for _ in range(2))
    assert len(asked) == 3 * times
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_a_limit_cuts_the_last_batch():
    task = Task(evaluate=batches())
    runner = Scripted(lambda inputs: inputs[0])
    assert [len(a.logits) for a in answers(runner, task, limit=6)] == [4, 2]


def test_inputs_that_are_no_numbers_are_blamed_on_the_data():
    x, y = batches(1)[0]
    with pytest.raises(DataError, match=r"Task\.evaluate: a batch holds NaN or infinity; expected finite inputs"):
        list(answers(Scripted(lambda inputs: inputs[0]), Task(evaluate=[(x * torch.nan, y)])))


def test_batches_are_run_one_by_one_as_they_are_asked_for():
    seen = []
    stream = answers(Scripted(lambda inputs: seen.append(1) or inputs[0]), Task(evaluate=batches()))
    next(stream)
    assert len(seen) == 1


def test_a_batch_of_the_wrong_shape_is_one_line_with_part_shape_and_the_models_words():
    task = Task(evaluate=[*batches(1), (torch.zeros(4, 5), torch.zeros(4))])
    with pytest.raises(DataError) as caught:
        list(answers(TorchRunner(nn.Linear(2, 3), task), task))
    message = str(caught.value)
    assert message.startswith("Task.evaluate: PyTorch refuses a batch with inputs of shape [4, 5] (float32): ")
    assert "mat1 and mat2 shapes cannot be multiplied" in message
    assert "\n" not in message


def test_the_part_that_was_asked_for_is_the_part_that_is_blamed():
    def refuse(inputs):
        raise Exception("Got invalid dimensions for input: x\n Got: 2 Expected: 7\n" + "more " * 99)

    task = Task(evaluate=batches(), train=batches())
    words = r"Got invalid dimensions for input: x Got: 2 Expected: 7 more [more ]*\[\.\.\.\]\. Check"
    with pytest.raises(DataError, match=rf"^Task.train: toy runtime refuses .*: {words}"):
        list(answers(Scripted(refuse), task, part="train"))


def test_laconics_own_errors_pass_unchanged():
    def refuse(inputs):
        raise UsageError("as it was")

    with pytest.raises(UsageError, match=r"^as it was$"):
        list(answers(Scripted(refuse), Task(evaluate=batches())))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_answer_with_nan_or_infinity_is_an_error_that_names_the_runner(value):
    runner = Scripted(lambda inputs: np.where(inputs[0] == inputs[0].max(), value, 0))
    with pytest.raises(ModelError, match=r"^toy runtime: .* NaN or infinity"):
        list(answers(runner, Task(evaluate=batches())))


def test_minus_infinity_excludes_a_class_and_is_allowed():
    runner = Scripted(lambda inputs: np.full_like(inputs[0], -np.inf))
    assert len(list(answers(runner, Task(evaluate=batches())))) == 3


def test_an_empty_loader_is_an_error():
    with pytest.raises(DataError, match=r"Task.evaluate: the loader yields no samples"):
        list(answers(Scripted(lambda inputs: inputs[0]), Task(evaluate=[])))


def test_labels_tell_where_the_classes_are_and_what_counts():
    logits = torch.randn(2, 3, 5)
    segmented = Answer(batch=Batch(args=(logits,), labels=torch.tensor([[0, 1, 2, 0, -100]] * 2)), logits=logits)
    assert torch.equal(segmented.predictions(), logits.movedim(1, -1))
    assert segmented.counted().tolist() == [[True] * 4 + [False]] * 2
    unlabelled = Answer(batch=Batch(args=(logits,)), logits=logits)
    assert torch.equal(unlabelled.predictions(), logits)
    assert unlabelled.counted().shape == (2, 3)


def answered(*inputs, width=2):
    return [Answer(batch=Batch(args=(x,)), logits=torch.zeros(len(x), width)) for x in inputs]


def test_pairs_refuses_passes_that_saw_other_samples_another_order_or_fewer_batches():
    one, two = torch.zeros(2, 1), torch.ones(2, 1)
    for other in (answered(two, one), answered(one), answered(one, two, two)):
        with pytest.raises(DataError, match=r"two passes gave different batches.*shuffling"):
            list(pairs(answered(one, two), other))


def test_pairs_refuses_outputs_of_different_shapes():
    x = torch.zeros(2, 1)
    with pytest.raises(DataError, match=r"got outputs of shape \[2, 3\]; expected the reference's \[2, 2\]"):
        list(pairs(answered(x), answered(x, width=3)))
