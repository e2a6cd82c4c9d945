import copy
import random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from training_samples import Augmented, data, network, same_weights, shuffled, task_of

from laconic.core.errors import DataError, ModelError, UsageError
from laconic.core.task import Task
from laconic.distill import SoftLabels, SquaredError
from laconic.train import SGD, AdamW, Constant, Objective, Training, distillation, supervised, train


def test_one_step_is_the_hand_written_step() -> None:
    (x, y), model = data(1)[0], network(dropout=0)
    expected = copy.deepcopy(model).train()
    optimizer = torch.optim.SGD(expected.parameters(), lr=0.5)
    nn.functional.cross_entropy(expected(x), y).backward()
    nn.utils.clip_grad_norm_(expected.parameters(), 0.1)
    optimizer.step()
    task = task_of([(x, y)])
    training = Training(steps=1, optimizer=SGD(learning_rate=0.5, momentum=0), schedule=Constant(), clip_norm=0.1)
    trained = train(model, task, training, objective=supervised(task))
    assert trained.model is model
    assert same_weights(model, expected)


def test_training_on_labels_learns_them() -> None:
    task, model = task_of(data(8)), nn.Linear(6, 3)
    trained = train(model, task, Training(epochs=30, optimizer=AdamW(learning_rate=0.05)), objective=supervised(task))
    hits = torch.cat([model(x).argmax(-1) == y for x, y in data(8)])
    assert hits.float().mean() > 0.95
    assert trained.steps == 240


def test_a_student_learns_its_teacher_s_answers_without_labels() -> None:
    batches = [x for x, _ in data(8)]
    task, teacher, student = task_of(batches), network(1).eval(), network(2, dropout=0)

    def distance() -> float:
        with torch.no_grad():
            return float((student.eval()(batches[0]).softmax(-1) - teacher(batches[0]).softmax(-1)).abs().max())

    before = distance()
    train(
        student,
        task,
        Training(epochs=40, optimizer=AdamW(learning_rate=0.02)),
        objective=distillation(teacher, task, SoftLabels(temperature=2)),
    )
    assert distance() < before / 4


def test_a_regression_learns_from_outputs() -> None:
    x = torch.randn(16, 2, generator=torch.Generator().manual_seed(0))
    teacher, student = nn.Linear(2, 1), nn.Linear(2, 1)
    task = Task(train=[x], evaluate=[(x, x[:, :1])], metric="mse")
    training = Training(steps=200, optimizer=SGD(learning_rate=0.1))
    train(student, task, training, objective=distillation(teacher, task, SquaredError()))
    torch.testing.assert_close(student.weight, teacher.weight, atol=1e-3, rtol=0)


def test_the_teacher_is_asked_in_eval_mode_without_gradients_and_is_left_as_it_was() -> None:
    teacher, seen = network(1), []
    teacher.train()
    teacher[1].eval()
    before = copy.deepcopy(teacher)
    teacher.register_forward_hook(lambda m, i, o: seen.append((m.training, m[3].training, o.requires_grad)))
    task = task_of(data())
    train(network(), task, Training(epochs=1), objective=distillation(teacher, task, SoftLabels()))
    assert set(seen) == {(False, False, False)}
    assert same_weights(teacher, before)
    assert [m.training for m in teacher.modules()] == [m.training for m in before.modules()]
    assert all(p.requires_grad and p.grad is None for p in teacher.parameters())


def test_the_model_is_trained_in_train_mode_and_returned_in_eval_mode() -> None:
    model, seen = network().eval(), []
    model[3].register_forward_hook(lambda m, i, o: seen.append(m.training))
    task = task_of(data())
    train(model, task, Training(steps=2), objective=supervised(task))
    assert seen == [True, True]
    assert not any(m.training for m in model.modules())


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_nothing_of_the_loop_sticks_to_the_model(precision: Any) -> None:
    model = network()
    names = set(vars(model))
    task = task_of(data())
    train(model, task, Training(steps=2, mixed_precision=precision), objective=supervised(task))
    assert set(vars(model)) == names
    assert model(data()[0][0]).dtype == torch.float32


def test_mixed_precision_computes_in_bfloat16_and_keeps_float32_weights() -> None:
    model, seen = network(), []
    model[0].register_forward_hook(lambda m, i, o: seen.append(o.dtype))
    task = task_of(data())
    train(model, task, Training(steps=1, mixed_precision="bf16"), objective=supervised(task))
    train(model, task, Training(steps=1, mixed_precision="no"), objective=supervised(task))
    assert seen == [torch.bfloat16, torch.float32]
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_the_same_arguments_give_the_same_weights_and_leave_the_caller_s_random_state_alone() -> None:
    weights = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        expected = (torch.rand(1), random.random(), np.random.rand())
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        task = task_of(shuffled(dataset=Augmented()))
        weights.append(train(network(), task, Training(epochs=2), objective=supervised(task)).model)
        assert (torch.rand(1), random.random(), np.random.rand()) == expected
    assert same_weights(*weights)


def test_another_seed_gives_another_order() -> None:
    task = task_of(shuffled())
    models = [train(network(), task, Training(epochs=1, seed=s), objective=supervised(task)).model for s in (0, 1)]
    assert not same_weights(*models)


def test_dict_batches_and_outputs_with_logits_work_untouched() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 3)

        def forward(self, *, input_values: Tensor) -> SimpleNamespace:
            return SimpleNamespace(logits=self.layer(input_values))

    task = task_of([{"input_values": x, "labels": y} for x, y in data()])
    trained = train(Named(), task, Training(epochs=20), objective=distillation(Named(), task, SoftLabels()))
    assert trained.losses["soft labels"] < 0.5


def test_progress_hears_of_every_step() -> None:
    heard: list[tuple[int, int]] = []
    task = task_of(data(3))
    train(
        network(),
        task,
        Training(epochs=2),
        objective=supervised(task),
        progress=lambda step, total, loss: heard.append((step, total)),
    )
    assert heard == [(step, 6) for step in range(1, 7)]


def test_a_loader_without_length_is_counted() -> None:
    class Endless:
        def __iter__(self) -> Any:
            return iter(data(3))

    task = task_of(Endless())
    assert train(network(), task, Training(epochs=2), objective=supervised(task)).steps == 6


@pytest.mark.parametrize("training", [Training(epochs=1), Training(steps=1)])
def test_an_empty_loader_is_one_clear_line(training: Training) -> None:
    task = task_of([])
    with pytest.raises(DataError, match=r"Task\.train: the loader yields no batches"):
        train(network(), task, training, objective=supervised(task))


def test_missing_training_data_is_one_clear_line() -> None:
    task = task_of(None)
    with pytest.raises(DataError, match=r"Task\.train: there is none"):
        train(network(), task, Training(steps=1), objective=supervised(task))


def test_missing_labels_are_one_clear_line() -> None:
    task = task_of([torch.zeros(4, 6)])
    with pytest.raises(DataError, match="a batch has no labels"):
        train(network(), task, Training(steps=1), objective=supervised(task))


def test_labels_out_of_range_are_one_clear_line() -> None:
    task = task_of([(torch.zeros(4, 6), torch.tensor([0, 1, 2, 5]))])
    with pytest.raises(DataError, match="labels from 0 to 5, but the model has 3 classes"):
        train(network(), task, Training(steps=1), objective=supervised(task))


def test_a_batch_of_the_wrong_shape_is_one_line_with_the_shape_and_the_model_s_words() -> None:
    task = task_of([(torch.zeros(4, 5), torch.zeros(4, dtype=torch.long))])
    with pytest.raises(
        DataError, match=r"fails on batch 1 of epoch 1 \(inputs \[\[4, 5\]\], labels \[4\]\).*mat1"
    ) as e:
        train(network(), task, Training(steps=1), objective=supervised(task))
    assert "\n" not in str(e.value)


def test_a_loss_per_sample_is_refused() -> None:
    objective = Objective(name="mine", terms=lambda model, batch, moment: {"mine": model(*batch.args).sum(-1)})
    with pytest.raises(UsageError, match=r"loss term 'mine': got \[8\]; expected a scalar"):
        train(network(), task_of(data()), Training(steps=1), objective=objective)


def test_a_model_without_trainable_parameters_is_refused() -> None:
    task = task_of(data())
    with pytest.raises(ModelError, match="no trainable parameter"):
        train(network().requires_grad_(False), task, Training(steps=1), objective=supervised(task))


def test_without_noise_the_model_trains_as_it_answers() -> None:
    model = network()
    statistics = model[1].running_mean.clone()
    asked: list[bool] = []

    def watch(module: nn.Module, batch: Any, moment: Any) -> dict[str, Tensor]:
        asked.append(module.training or module[1].training or module[3].training)
        return {"loss": module(batch.args[0]).square().mean()}

    before = model[0].weight.detach().clone()
    task = task_of(data())
    train(model, task, Training(epochs=1, noise=False), objective=Objective(terms=watch, name="watch"))
    assert asked == [False] * 4
    assert torch.equal(model[1].running_mean, statistics)
    assert not torch.equal(model[0].weight, before)
