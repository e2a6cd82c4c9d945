from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from training_samples import data, network, plain_network, same_weights, task_of

from laconic.core.errors import ModelError, TrainingError, UsageError
from laconic.core.task import Batch, Task
from laconic.distill import Contrastive, Match, SameFeatures, SoftLabels, SquaredError
from laconic.distill.augment import Mixup
from laconic.train import Objective, Training, cached_teacher, distill, distillation, train
from laconic.train.objective import Moment
from laconic.train.teach import default_loss


def test_one_call_is_the_loop_with_the_default_loss() -> None:
    task, teacher = task_of([x for x, _ in data()]), plain_network(1)
    student = distill(teacher, plain_network(2), task, epochs=3)
    objective = distillation(teacher, task, SoftLabels(temperature=2))
    expected = train(plain_network(2), task, Training(epochs=3), objective=objective).model
    assert same_weights(student, expected)
    assert not same_weights(student, plain_network(2))


def test_the_default_loss_follows_the_kind_of_task() -> None:
    x = torch.zeros(2, 1)
    assert default_loss(Task(evaluate=[(x, x)], metric="mse")) == SquaredError()
    assert default_loss(task_of(data())) == SoftLabels(temperature=2)


def test_a_student_with_another_number_of_classes_is_refused() -> None:
    with pytest.raises(ModelError, match=r"student answers in shape \[8, 4\], the teacher in \[8, 3\]"):
        distill(plain_network(1), nn.Linear(6, 4), task_of(data()), epochs=1)


LAYER = Match(teacher="0", student="0", loss=Contrastive())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"loss": SameFeatures()}, r"distill\.loss: got SameFeatures\(\); expected a loss on answers"),
        ({"loss": SoftLabels}, r"distill\.loss: got <class"),
        ({"match": LAYER}, r"distill\.match: got Match\(.*expected a sequence of Match"),
        ({"match": [{"teacher": "0", "student": "0"}]}, r"distill\.match: got \[\{"),
        ({"augment": Mixup()}, r"distill\.augment: got Mixup.*write augment=\[\.\.\.\]"),
        ({"callbacks": print}, r"distill\.callbacks: got <built-in"),
        ({"training": 3}, r"training: got 3; expected a Training"),
        ({"training": Training(steps=2), "epochs": 5}, "training, epochs: got .*expected one of the two"),
    ],
)
def test_an_argument_of_another_kind_is_one_line(given: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said) as found:
        distill(plain_network(1), plain_network(2), task_of(data()), **given)
    assert "\n" not in str(found.value)


def test_data_without_a_task_and_layers_of_answers_on_disk_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"distill\.task: got 'list'; expected a laconic\.Task"):
        distill(plain_network(1), plain_network(2), data())
    task = task_of(data())
    known = cached_teacher(plain_network(1), task, tmp_path / "answers")
    for match in ("auto", [LAYER]):
        with pytest.raises(UsageError, match="Answers on disk have no layers"):
            distill(known, plain_network(2), task, match=match)


def test_gradients_that_are_not_finite_end_the_run_before_they_reach_the_weights(tmp_path: Path) -> None:
    def terms(model: nn.Module, batch: Batch, moment: Moment) -> dict[str, Tensor]:
        loss = model(*batch.args).square().mean()
        return {"root": (loss - loss.detach()).clamp(min=0).sqrt() if moment.progress >= 0.5 else loss}

    student, training = plain_network(2), Training(steps=4, checkpoint_every=1)
    with pytest.raises(TrainingError, match=r"gradients .* not finite at step 3 of 4.* checkpoint of step 2 stays"):
        train(student, task_of(data()), training, objective=Objective(name="root", terms=terms), work=tmp_path)
    assert all(p.isfinite().all() for p in student.parameters())


def test_a_student_that_is_given_in_eval_mode_learns_like_any_other() -> None:
    task, teacher = task_of(data()), plain_network(1)
    given, usual = (distill(teacher, network(2).train(mode), task, epochs=1) for mode in (False, True))
    quiet = distill(teacher, network(2), task, training=Training(epochs=1, noise=False))
    assert same_weights(given, usual) and not same_weights(given, quiet)
